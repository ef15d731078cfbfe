package rest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestReasonsAreThoseOfTheCode reads the source of the server for every code that is given together
// with a reason, and holds the document's list against it.
func TestReasonsAreThoseOfTheCode(t *testing.T) {
	t.Parallel()
	given := map[string]string{} // "Code Reason" -> where
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if pair := codeAndReason(n); pair != "" {
				given[pair] = path
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(given) < 30 {
		t.Fatalf("only %d pairs were found in the source", len(given))
	}
	listed := map[string]bool{}
	for _, r := range reasonTexts {
		listed[string(r.code)+" "+string(r.reason)] = true
	}
	values := constants(t, "../../mfa/error.go")
	seen := map[string]bool{}
	for _, pair := range slices.Sorted(maps.Keys(given)) {
		code, reason, _ := strings.Cut(pair, " ")
		key := values[code] + " " + values[reason]
		if !listed[key] && !seen[key] {
			t.Errorf("%s gives %s, which the document does not list", given[pair], pair)
		}
		seen[key] = true
		delete(listed, key)
	}
	for pair := range listed {
		t.Errorf("the document lists %q, which nothing gives", pair)
	}
}

// codeAndReason gives the names of the constants of an error that a node makes, or "".
func codeAndReason(n ast.Node) string {
	switch n := n.(type) {
	case *ast.CallExpr:
		switch name(n.Fun) {
		case "Errorf":
			if len(n.Args) >= 2 && isReason(name(n.Args[1])) {
				return name(n.Args[0]) + " " + name(n.Args[1])
			}
		case "InvalidField":
			return "Invalid ReasonMalformed"
		}
	case *ast.CompositeLit:
		if name(n.Type) != "Error" {
			return ""
		}
		code, reason := "", ""
		for _, e := range n.Elts {
			kv, ok := e.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			switch name(kv.Key) {
			case "Code":
				code = name(kv.Value)
			case "Reason":
				reason = name(kv.Value)
			}
		}
		if code != "" && isReason(reason) {
			return code + " " + reason
		}
	}
	return ""
}

// isReason tells the name of a reason's constant from a member of that name.
func isReason(s string) bool { return strings.HasPrefix(s, "Reason") && s != "Reason" }

// name is the last identifier of an expression such as mfa.Invalid.
func name(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// constants gives the values of the string constants of a file.
func constants(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Names) == 1 && len(spec.Values) == 1 {
			if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
				values[spec.Names[0].Name] = strings.Trim(lit.Value, `"`)
			}
		}
		return true
	})
	return values
}
