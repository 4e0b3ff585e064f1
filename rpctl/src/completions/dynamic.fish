
# agents, procedures and arguments, as the manager knows them
complete -c rpctl -a '(rpctl __complete words (commandline -cp | string collect) 2>/dev/null)'
