package archtest

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
)

// dependencyPage explains every direct dependency in a row of a table that begins with the
// module's path in backquotes.
const dependencyPage = "docs/dependencies.md"

var dependencyRow = regexp.MustCompile("(?m)^\\| *`([^`]+)` *\\|")

// CheckDependencies returns a line for every module that go.mod requires directly and
// docs/dependencies.md does not explain, and for every one explained there and not required.
func CheckDependencies(fsys fs.FS) ([]string, error) {
	m := &module{}
	if err := m.readGoMod(fsys); err != nil {
		return nil, err
	}
	page, err := fs.ReadFile(fsys, dependencyPage)
	if err != nil {
		return nil, err
	}
	var explained, breaches []string
	for _, row := range dependencyRow.FindAllSubmatch(page, -1) {
		explained = append(explained, string(row[1]))
	}
	for _, name := range m.requires {
		if !slices.Contains(explained, name) {
			breaches = append(breaches, fmt.Sprintf("go.mod: %s has no line in %s", name, dependencyPage))
		}
	}
	for _, name := range explained {
		if !slices.Contains(m.requires, name) {
			breaches = append(breaches, fmt.Sprintf("%s: %s is not a direct dependency", dependencyPage, name))
		}
	}
	return breaches, nil
}
