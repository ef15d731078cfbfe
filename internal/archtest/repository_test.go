package archtest

import (
	"os"
	"testing"
)

// TestRepository holds this module to the table.
func TestRepository(t *testing.T) {
	t.Parallel()
	breaches, err := Check(os.DirFS("../.."), table)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range breaches {
		t.Error(b)
	}
}

func TestDependencies(t *testing.T) {
	t.Parallel()
	breaches, err := CheckDependencies(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range breaches {
		t.Error(b)
	}
}
