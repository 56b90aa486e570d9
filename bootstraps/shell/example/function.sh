# An example function: greets, and counts the calls of this environment.

calls=0

handler() {
  calls=$((calls + 1))
  echo "call $calls of $LAMBDA_REQUEST_ID" >&2
  name=$(printf %s "$1" | sed -n 's/.*"name"[^"]*"\([^"]*\)".*/\1/p')
  printf '{"hello": "%s", "calls": %d}\n' "${name:-world}" "$calls"
}
