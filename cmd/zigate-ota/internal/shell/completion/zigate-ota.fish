# Completion of zigate-ota for fish: zigate-ota completion fish | source

function __zigate_ota_complete
    set -l words (commandline --tokenize --cut-at-cursor --current-process)
    set -l current (commandline --current-token --cut-at-cursor | string unescape)
    for line in ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
        if test "$line" = :file
            __fish_complete_path "$current"
        else
            printf '%s\n' $line
        end
    end
end

complete --command zigate-ota --no-files --arguments '(__zigate_ota_complete)'
