# Completion of zigate-ota for bash: source <(zigate-ota completion bash)

_zigate_ota() {
  local current=${COMP_WORDS[COMP_CWORD]} word candidate words=() files=
  # The words as they are meant: without quotes and backslashes.
  for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
    words+=("$(_zigate_ota_meant "$word")")
  done
  COMPREPLY=()
  while IFS=$'\t' read -r candidate _; do
    if [[ $candidate == :file ]]; then
      files=yes
    else
      COMPREPLY+=("$(_zigate_ota_written "$candidate" "$current")")
    fi
  done < <("${COMP_WORDS[0]}" __complete "${words[@]}" 2>/dev/null)
  if [[ -n $files ]]; then
    compopt -o filenames
    while IFS= read -r candidate; do
      COMPREPLY+=("$candidate")
    done < <(compgen -f -- "$(_zigate_ota_meant "$current")")
  fi
}

# A word of the command line as the program gets it. Nothing is expanded.
_zigate_ota_meant() {
  local rest=$1 out= quote= char
  while [[ -n $rest ]]; do
    char=${rest:0:1}
    rest=${rest:1}
    case $quote$char in
      \'\' | \"\") quote= ;;
      \' | \") quote=$char ;;
      \\ | \"\\) out+=${rest:0:1} rest=${rest:1} ;;
      *) out+=$char ;;
    esac
  done
  printf '%s' "$out"
}

# A candidate as it has to stand on the command line: in the quotes that were begun, else with backslashes.
_zigate_ota_written() {
  case $2 in
    \'*) printf '%s' "'${1//\'/\'\\\'\'}'" ;;
    \"*)
      local text=${1//\\/\\\\}
      text=${text//\"/\\\"}
      text=${text//\$/\\\$}
      printf '%s' "\"${text//\`/\\\`}\""
      ;;
    *) printf '%q' "$1" ;;
  esac
}

complete -F _zigate_ota zigate-ota
