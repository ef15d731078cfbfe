package archtest

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// module is what of a module's sources the rules speak about.
type module struct {
	name     string
	requires []string // the modules that go.mod requires directly
	packages []*pkg   // in the order of their paths
}

// pkg is a directory with Go files. Its path is the one below the module, "." for the root.
type pkg struct {
	path  string
	files []*file
}

type file struct {
	test    bool
	imports []imported
	uses    []use
	inits   []string // where the init functions are
}

type imported struct {
	at, name, path string // name is empty unless the file gives one
}

// use is a mention of an exported name of an imported package, as "net/http.Server".
type use struct {
	at, name string
}

// holds says whether an import path is one of the module's.
func (m *module) holds(importPath string) bool {
	return importPath == m.name || strings.HasPrefix(importPath, m.name+"/")
}

// below is the path below the module of an import path inside it; others it leaves as they are.
func (m *module) below(importPath string) string {
	if importPath == m.name {
		return "."
	}
	return strings.TrimPrefix(importPath, m.name+"/")
}

// load reads every Go file of the module except those in testdata, in directories that the
// go command ignores and in modules of their own.
func load(fsys fs.FS) (*module, error) {
	m := &module{}
	if err := m.readGoMod(fsys); err != nil {
		return nil, err
	}
	byPath := map[string]*pkg{}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone since its directory was listed
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && ignored(fsys, name) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := readFile(fsys, name)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		if byPath[dir] == nil {
			byPath[dir] = &pkg{path: dir}
			m.packages = append(m.packages, byPath[dir])
		}
		byPath[dir].files = append(byPath[dir].files, f)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	slices.SortFunc(m.packages, func(a, b *pkg) int { return strings.Compare(a.path, b.path) })
	return m, nil
}

func ignored(fsys fs.FS, dir string) bool {
	switch base := path.Base(dir); {
	case base[0] == '.', base[0] == '_', base == "testdata", base == "vendor", base == "node_modules":
		return true
	}
	_, err := fs.Stat(fsys, path.Join(dir, "go.mod"))
	return err == nil
}

func readFile(fsys fs.FS, name string) (*file, error) {
	src, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, name, src, 0)
	if err != nil {
		return nil, err
	}
	at := func(n ast.Node) string {
		return fmt.Sprintf("%s:%d", name, set.Position(n.Pos()).Line)
	}
	f := &file{test: strings.HasSuffix(name, "_test.go")}
	names := map[string]string{}
	for _, spec := range syntax.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at(spec), err)
		}
		im := imported{at: at(spec), path: p}
		local := path.Base(p)
		if spec.Name != nil {
			im.name = spec.Name.Name
			local = im.name
		}
		names[local] = p
		f.imports = append(f.imports, im)
	}
	for _, d := range syntax.Decls {
		if initFunc(d) {
			f.inits = append(f.inits, at(d))
		}
	}
	ast.Inspect(syntax, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		// An identifier that the parser resolved is a variable with the name of a package.
		if x, ok := sel.X.(*ast.Ident); ok && x.Obj == nil && names[x.Name] != "" {
			f.uses = append(f.uses, use{at: at(sel), name: names[x.Name] + "." + sel.Sel.Name})
		}
		return true
	})
	return f, nil
}

// readGoMod reads the module's name and its direct requirements, in the form that go mod
// tidy leaves them.
func (m *module) readGoMod(fsys fs.FS) error {
	src, err := fs.ReadFile(fsys, "go.mod")
	if err != nil {
		return err
	}
	block := ""
	for line := range strings.Lines(string(src)) {
		line, comment, _ := strings.Cut(strings.TrimSpace(line), "//")
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
			continue
		case words[0] == ")":
			block = ""
			continue
		case len(words) == 2 && words[1] == "(":
			block = words[0]
			continue
		case block != "":
			words = append([]string{block}, words...)
		}
		switch {
		case words[0] == "module" && len(words) == 2:
			m.name = words[1]
		case words[0] == "require" && len(words) == 3 && strings.TrimSpace(comment) != "indirect":
			m.requires = append(m.requires, words[1])
		}
	}
	if m.name == "" {
		return errors.New("go.mod names no module")
	}
	return nil
}
