package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// completeVerb is what the completion scripts call with the words typed so far.
const completeVerb = "__complete"

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help gives examples.
func (completionCmd) Help() string {
	return "Examples:\n\n    source <(nod completion bash)\n    nod completion zsh > \"${fpath[1]}/_nod\"\n    nod completion fish > ~/.config/fish/completions/nod.fish\n"
}

var completionScripts = map[string]string{
	"bash": `_nod() {
  local IFS=$'\n'
  COMPREPLY=($(nod __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _nod nod
`,
	"zsh": `#compdef nod
_nod() {
  local -a found
  found=("${(@f)$(nod __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "${found[1]}" ]]; then compadd -- "${found[@]}"; else _files; fi
}
compdef _nod nod
`,
	"fish": `function __nod_complete
  set -l words (commandline -opc) (commandline -ct)
  nod __complete $words[2..-1] 2>/dev/null
end
complete -c nod -a '(__nod_complete)'
`,
}

// Run prints the script.
func (v *completionCmd) Run(a *app) error {
	_, err := io.WriteString(a.stdout, completionScripts[v.Shell])
	return err
}

// complete prints what can stand in place of the last word.
func (a *app) complete(model *kong.Application, words []string) int {
	if len(words) == 0 {
		words = []string{""}
	}
	node, last := model.Node, words[len(words)-1]
	for _, w := range words[:len(words)-1] {
		if i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == w || slices.Contains(n.Aliases, w) }); i >= 0 {
			node = node.Children[i]
		}
	}
	var found []string
	if strings.HasPrefix(last, "-") {
		for _, flags := range node.AllFlags(true) {
			for _, f := range flags {
				found = append(found, "--"+f.Name)
			}
		}
	} else {
		for _, n := range node.Children {
			if !n.Hidden {
				found = append(found, n.Name)
			}
		}
		for _, p := range node.Positional {
			found = append(found, p.EnumSlice()...)
		}
	}
	slices.Sort(found)
	for _, f := range slices.Compact(found) {
		if f != "" && strings.HasPrefix(f, last) {
			fmt.Fprintln(a.stdout, f)
		}
	}
	return codeOK
}
