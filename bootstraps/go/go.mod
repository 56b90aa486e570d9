module lambent

go 1.21
