
# agents, procedures and arguments, as the manager knows them; whatever it does not, as above
_rpctl_dynamic() {
    local IFS=$'\n' found
    found=($(rpctl __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null))
    if ((${#found[@]})); then
        COMPREPLY=("${found[@]}")
        if [[ ${#found[@]} == 1 && ${found[0]} == *= || ${found[0]} == *: ]]; then
            compopt -o nospace 2>/dev/null
        fi
        # the other side of a copy is a file here
        if [[ ${found[0]} == *: ]]; then
            COMPREPLY+=($(compgen -f -- "$2"))
        fi
        return 0
    fi
    unset IFS
    _rpctl "$@"
}

if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -F _rpctl_dynamic -o nosort -o bashdefault -o default rpctl
else
    complete -F _rpctl_dynamic -o bashdefault -o default rpctl
fi
