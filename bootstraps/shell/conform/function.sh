# A function for `lambent conform`: it returns its event as it is.

handler() {
  cat
}
