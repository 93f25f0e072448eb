function __stage0_is
 set -l words (commandline -opc)
 contains -- "$words[2]" $argv
end
function __stage0_pods
 set -l words (commandline -opc)
 set -l state (string match -- '--state-dir=*' $words)
 set -l at (contains -i -- --state-dir $words)
 and set state --state-dir=$words[(math $at + 1)]
 set -l lines (stage0 list --no-legend --full $state 2>/dev/null | string match -r '^.{60}(?:'$argv[1]').*')
 string replace -rf '^(.{36}).*' '$1' -- $lines
 string replace -rf '^.{38}([a-zA-Z0-9_-]+)[, ].*' '$1' -- $lines
end
function __stage0_dash
 string match -q -- '-*' (commandline -ct)
end
function __stage0_words
 set -l words (string match -v -- '--state-dir=*' (commandline -opc))
 set -l at (contains -i -- --state-dir $words)
 and set -e words[$at..(math $at + 1)]
 test (count $words) -eq $argv[1]
end
complete -c stage0 -f -n '__stage0_words 1' -a '%0'
complete -c stage0 -f -n '__stage0_is completion' -a 'bash zsh fish'
complete -c stage0 -f -n '__stage0_is app; and __stage0_words 2' -a 'list status start stop rm kill add exec enter release'
complete -c stage0 -f -n '__stage0_is app; and __stage0_words 3' -a '(__stage0_pods running)'
%5
