_stage0_files() {
 local IFS=$'\n'
 if [[ $1$prefix ]]; then
  COMPREPLY=("$1$word"*)
  [[ -e ${COMPREPLY[0]} ]] || COMPREPLY=()
  COMPREPLY=("${COMPREPLY[@]#"$1"}")
 else
  COMPREPLY=($(compgen -f -- "$word"))
 fi
}
_stage0_words() {
 local IFS=$' \n'
 COMPREPLY=($(compgen -W "$1" -- "$word"))
}
_stage0_pods() {
 local line name all=
 while IFS= read -r line; do
  [[ ${line:60} =~ ^($1) ]] || continue
  name=${line:38:20}
  name=${name%%[, ]*}
  all="$all ${line:0:36}"
  [[ $name == *...* || $name == *[!a-zA-Z0-9_.-]* ]] || all="$all $name"
 done < <(stage0 list --no-legend --full ${state:+"--state-dir=$state"} 2>/dev/null)
 _stage0_words "$all"
}
_stage0_value() {
 case $1 in
 --net) _stage0_words 'host none pool' ;;
 --private-users) _stage0_words 'auto true false' ;;
 --stage1)
  _stage0_words 'init fly'
  [[ $COMPREPLY ]] || _stage0_files ''
  ;;
 --ipc) _stage0_words 'auto private parent' ;;
 --dns) _stage0_words 'host none' ;;
 --format) _stage0_words 'text json' ;;
 --timings) _stage0_words json ;;
 --restart) _stage0_words 'no on-failure always' ;;
 --exit-policy) _stage0_words 'first-failure all never' ;;
 --ready) _stage0_words 'start exit notify file: port:' ;;
 --log) _stage0_words 'pod none prefix file:' ;;
 --stdin) _stage0_words 'inherit null stream file: pipe' ;;
 --stdout | --stderr) _stage0_words 'inherit null file: pipe:' ;;
 --insecure-options) _stage0_words 'all none capabilities seccomp no-new-privs paths' ;;
 %2) _stage0_words 'true false' ;;
 *) _stage0_files '' ;;
 esac
}
_stage0() {
 local word=${COMP_WORDS[COMP_CWORD]} at=2 count=0 option= prefix= root= state= offered= pods= is_end=
 COMPREPLY=()
 if ((COMP_CWORD == 1)); then
  _stage0_words '%0'
  return
 fi
 [[ $word == = ]] && word=
 while ((at < COMP_CWORD)); do
  option=${COMP_WORDS[at]}
  case $option in
  --)
   is_end=1
   at=$COMP_CWORD
   ;;
  %1)
   [[ ${COMP_WORDS[at + 1]} == = ]] && ((at += 1))
   ((at += 2))
   case $option in
   --rootfs) root=${COMP_WORDS[at - 1]-} ;;
   --state-dir) state=${COMP_WORDS[at - 1]-} ;;
   esac
   ;;
  -*)
   case $option in
   --rootfs=*) root=${option#*=} ;;
   --state-dir=*) state=${option#*=} ;;
   esac
   ((at += 1))
   [[ ${COMP_WORDS[at]} == = ]] && ((at += 2))
   ;;
  *) ((at += 1, count += 1)) ;;
  esac
 done
 if [[ $at == "$COMP_CWORD" && $is_end$word == --*=* ]]; then
  option=${word%%=*} word=${word#*=}
  prefix=$option=
  ((at += 1))
 fi
 if ((at > COMP_CWORD)); then
  _stage0_value "$option"
  [[ $prefix ]] && COMPREPLY=("${COMPREPLY[@]/#/$prefix}")
  return
 fi
 case ${COMP_WORDS[1]} in
%4 esac
 if [[ ! $is_end && $word == -* ]]; then
  _stage0_words "$offered"
 elif [[ $pods == app && $count == 0 ]]; then
  _stage0_words 'list status start stop rm kill add exec enter release'
 elif [[ $pods == app && $count == 1 ]]; then
  _stage0_pods running
 elif [[ $pods == shell ]]; then
  _stage0_words 'bash zsh fish'
 elif [[ $pods == files && $root && ! $word ]]; then
  COMPREPLY=(/)
 elif [[ $pods == files && $word == /* ]]; then
  _stage0_files "$root"
 elif [[ $pods == files ]]; then
  _stage0_files ''
 elif [[ $pods && $pods != app && ! $is_end ]]; then
  _stage0_pods "$pods"
 fi
}
complete -o filenames -F _stage0 stage0
