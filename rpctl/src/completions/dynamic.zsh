
# agents, procedures and arguments, as the manager knows them; whatever it does not, as above
_rpctl_dynamic() {
    local -a found
    found=("${(@f)$(rpctl __complete words "${BUFFER[1,CURSOR]}" 2>/dev/null)}")
    found=("${(@)found:#}")
    if (( ${#found} )); then
        if [[ ${#found} == 1 && ${found[1]} == *= ]]; then
            compadd -S '' -- "${found[@]}"
        elif [[ ${found[1]} == *: ]]; then
            # the other side of a copy is a file here
            compadd -S '' -- "${found[@]}"
            _rpctl "$@"
        else
            compadd -- "${found[@]}"
        fi
        return 0
    fi
    _rpctl "$@"
}

compdef _rpctl_dynamic rpctl
# as the file of an autoloaded function it is read at the first Tab, which waits for an answer
if [[ "${funcstack[1]}" == _rpctl ]]; then
    _rpctl_dynamic "$@"
fi
