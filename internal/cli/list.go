package cli

import (
	"iter"
	"maps"
	"slices"
)

const mostPerPage = 200

// pageSize is what one request should bring of limit items.
func pageSize(limit int) int {
	if limit <= 0 || limit > mostPerPage {
		return mostPerPage
	}
	return limit
}

// collect takes limit items, or all for 0, and says if there are more.
func collect[T any](a *app, limit int, items iter.Seq2[T, error]) ([]T, error) {
	out := []T{}
	for item, err := range items {
		if err != nil {
			return nil, err
		}
		if limit > 0 && len(out) == limit {
			a.say("There are more; --limit 0 lists all.")
			break
		}
		out = append(out, item)
	}
	return out, nil
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
