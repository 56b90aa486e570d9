module functions.bench/echo

go 1.26

require (
	github.com/aws/aws-lambda-go v1.55.1
	lambent v0.0.0
)

replace lambent => ../../bootstraps/go
