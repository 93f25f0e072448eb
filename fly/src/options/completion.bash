_fly() {
 local IFS=$'\n' at=1 root= word=${COMP_WORDS[COMP_CWORD]}
 while ((at < COMP_CWORD)); do
  case ${COMP_WORDS[at]} in
  %2) ((at += 3)) ;;
  %1) ((at += 2)) ;;
  -*) ((at += 1)) ;;
  *) root=${COMP_WORDS[at]} && break ;;
  esac
 done
 if [[ $at == $COMP_CWORD && $word == -* ]]; then
  COMPREPLY=($(compgen -W '%0' -- "$word"))
 else
  COMPREPLY=($(compgen -f -- "$root$word"))
  COMPREPLY=("${COMPREPLY[@]#"$root"}")
 fi
}
complete -o filenames -F _fly fly
