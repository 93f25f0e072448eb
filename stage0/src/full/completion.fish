function __stage0_is
 set -l words (commandline -opc)
 contains -- "$words[2]" $argv
end
function __stage0_pods
 set -l lines (stage0 list --no-legend --full 2>/dev/null | string match -r '^.{60}(?:'$argv[1]').*')
 string replace -rf '^(.{36}).*' '$1' -- $lines
 string replace -rf '^.{38}([a-zA-Z0-9_-]+)[, ].*' '$1' -- $lines
end
function __stage0_dash
 string match -q -- '-*' (commandline -ct)
end
function __stage0_words
 test (count (commandline -opc)) -eq $argv[1]
end
complete -c stage0 -f -n '__stage0_words 1' -a '%0'
complete -c stage0 -f -n '__stage0_is completion' -a 'bash zsh fish'
complete -c stage0 -f -n '__stage0_is app; and __stage0_words 2' -a 'list status start stop rm kill add exec enter release'
complete -c stage0 -f -n '__stage0_is app; and __stage0_words 3' -a '(__stage0_pods running)'
%5
