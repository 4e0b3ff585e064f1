
# agents, procedures and arguments, as the manager knows them: no files beside them, but for a copy, whose other side is a file here
function __rpctl_found
    set -g __rpctl_candidates (rpctl __complete words (commandline -cp | string collect) 2>/dev/null)
    test (count $__rpctl_candidates) -gt 0
end

complete -c rpctl -n '__rpctl_found; and not string match -q "*:" -- $__rpctl_candidates[1]' -f -a '$__rpctl_candidates'
complete -c rpctl -n '__rpctl_found; and string match -q "*:" -- $__rpctl_candidates[1]' -F -a '$__rpctl_candidates'
# what follows an option is looked for with that option alone
complete -c rpctl -n __rpctl_found -l agent -x -a '$__rpctl_candidates'
complete -c rpctl -n __rpctl_found -l where -x -a '$__rpctl_candidates'
