package local_test

import (
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/nodauth/nod/internal/bus"
	"github.com/nodauth/nod/internal/bus/bustest"
	"github.com/nodauth/nod/internal/bus/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBus(t *testing.T) {
	t.Parallel()
	bustest.Run(t, bustest.Subject{Open: func(_ testing.TB, n int) ([]bus.Bus, func()) {
		return slices.Repeat([]bus.Bus{local.New()}, n), nil
	}})
}
