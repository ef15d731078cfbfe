package guard

// MaxLimiters is maxLimiters.
const MaxLimiters = maxLimiters

// Remembered counts the limiters that are kept.
func (g *Gate) Remembered() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.by)
}
