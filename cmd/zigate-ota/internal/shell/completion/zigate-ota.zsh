#compdef zigate-ota
# Completion of zigate-ota for zsh, behind compinit: source <(zigate-ota completion zsh)

_zigate_ota() {
  local line candidate files
  local -a candidates descriptions
  while IFS= read -r line; do
    candidate=${line%%$'\t'*}
    if [[ $candidate == :file ]]; then
      files=yes
      continue
    fi
    candidates+=("$candidate")
    if [[ $line == *$'\t'* ]]; then
      descriptions+=("$candidate  -- ${line#*$'\t'}")
    else
      descriptions+=("$candidate")
    fi
  done < <("${(Q)words[1]}" __complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)
  (( $#candidates )) && compadd -l -d descriptions -M 'm:{a-zA-Z}={A-Za-z}' -a candidates
  [[ -n $files ]] && _files
}

compdef _zigate_ota zigate-ota
