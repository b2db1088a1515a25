# shellcheck shell=bash
# with_libraries ROOT FILE AS: FILE below ROOT by the name AS, and what it needs where the dynamic
# linker looks for it. For sourcing.
with_libraries() {
  local library
  install -D "$2" "$1$3"
  while read -r library; do
    install -D "$library" "$1$library"
  done < <(ldd "$2" | grep -oE '/[^ ]+')
}
