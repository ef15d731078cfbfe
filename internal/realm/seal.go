package realm

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/wire/sealed"
)

const (
	// nodeLife is how long a node counts as running after it was heard of.
	nodeLife = 30 * time.Second
	// nodeEvery is how often a node says again what has not changed.
	nodeEvery = 10 * time.Second
	// settled is how long after the last node took the new key a walk begins: what a transaction has
	// sealed under the old one is committed by then.
	settled = 5 * time.Second
	// sealBatch is how many rows are looked at in one transaction.
	sealBatch = 100

	// settingSealKey names the key that seals this database, settingWalk says how far the walk is.
	settingSealKey = "seal.key"
	settingWalk    = "seal.walk"
	// settingHeld is which keys the node held that spoke last, so that a change is recorded once.
	settingHeld = "seal.held"
)

// Sealing gives the sealing key a successor. Which key seals is written in the database, so that all
// nodes turn at the same moment; that none turns before all hold the new key is checked in the
// transaction that writes it, against what the nodes say of themselves. A walk then seals again
// whatever an older key has sealed: in small transactions, in which its place is written too, so
// that any node can go on with it. It ends with a round that found nothing.
//
//	document has the key ─► every node holds it ─ Start ─► every node seals with it ─► walk ─► done
//
// Its methods take the caller's transaction. It may be used by several goroutines.
type Sealing struct {
	ring *keys.Ring
	node string
}

// NewSealing makes the Sealing of a node. The node's name is told to administrators.
func NewSealing(ring *keys.Ring, node string) (*Sealing, error) {
	if ring == nil || node == "" {
		return nil, errors.New("realm: a Sealing needs a ring and the name of its node")
	}
	return &Sealing{ring: ring, node: node}, nil
}

// SealTx is what a Sealing needs of a transaction.
type SealTx interface {
	Now() mfa.Instant
	Setting(name string) (string, error)
	PutSetting(name, value string) error
	store.Sealed
}

// walk is how far a walk is, as it is stored.
type walk struct {
	Key        string      `json:"key"`
	Asked      mfa.Instant `json:"asked"`
	Began      mfa.Instant `json:"began,omitempty"` // of the present round; 0 while nodes turn
	Round      int         `json:"round,omitempty"`
	Column     string      `json:"column,omitempty"` // being walked, table.column
	Realm      mfa.RealmID `json:"realm,omitempty"`  // of the last row
	Row        []string    `json:"row,omitempty"`
	Found      int         `json:"found,omitempty"` // in this round, under an older key
	Sealed     int         `json:"sealed,omitempty"`
	Unreadable int         `json:"unreadable,omitempty"` // in this round, opened by no key
	Done       mfa.Instant `json:"done,omitempty"`
}

func readWalk(tx interface {
	Setting(name string) (string, error)
},
) (walk, error) {
	var w walk
	text, err := tx.Setting(settingWalk)
	if errors.Is(err, store.ErrNotFound) {
		return w, nil
	}
	if err != nil {
		return w, fmt.Errorf("read walk: %w", err)
	}
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		return w, fmt.Errorf("read walk: %w", err)
	}
	return w, nil
}

func (w walk) put(tx SealTx) error {
	text, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("write walk: %w", err)
	}
	if err := tx.PutSetting(settingWalk, string(text)); err != nil {
		return fmt.Errorf("write walk: %w", err)
	}
	return nil
}

// Look takes the key that seals according to the database, in a transaction that only reads, and
// says whether Say has something to write. It returns an error that wraps keys.ErrNoSealKey for a
// node that lacks that key: what others seal it cannot open, and what it seals nobody would seal
// again, so it seals nothing from then on.
func (s *Sealing) Look(tx SealTx) (stale bool, err error) {
	key, err := tx.Setting(settingSealKey)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read sealing key's id: %w", err)
	}
	if key != s.ring.SealKey() {
		if err := s.ring.UseSealKey(key); err != nil {
			s.ring.StopSealing()
			return false, err
		}
	}
	was, err := s.self(tx)
	return err == nil && (s.changed(was) || tx.Now() >= was.SeenAt.Add(nodeEvery)), err
}

func (s *Sealing) changed(was store.RingNode) bool {
	return was.Seals != s.ring.SealKey() || !slices.Equal(was.Holds, s.ring.SealKeys())
}

// Say writes which keys this node holds and with which it seals; changed says whether the keys are
// others than those of the node that spoke before.
// The first node to do so says with which key the database is sealed. It returns an error that
// wraps keys.ErrNoSealKey for a node that lacks the key with which it is.
func (s *Sealing) Say(tx SealTx) (changed bool, err error) {
	key, err := tx.Setting(settingSealKey)
	if errors.Is(err, store.ErrNotFound) {
		key = s.ring.SealKey()
		err = tx.PutSetting(settingSealKey, key)
	}
	if err != nil {
		return false, fmt.Errorf("read sealing key's id: %w", err)
	}
	now := store.RingNode{Node: s.node, Holds: s.ring.SealKeys(), Seals: s.ring.SealKey(), SeenAt: tx.Now()}
	if !slices.Contains(now.Holds, key) {
		return false, fmt.Errorf("sealing key %s: %w", key, keys.ErrNoSealKey)
	}
	was, err := s.self(tx)
	if err != nil {
		return false, err
	}
	if now.Since = was.Since; was.Seals != now.Seals {
		now.Since = tx.Now()
	}
	if err := tx.PutRingNode(now); err != nil {
		return false, fmt.Errorf("write node: %w", err)
	}
	if err := tx.SweepRingNodes(tx.Now().Add(-10 * nodeLife)); err != nil {
		return false, fmt.Errorf("sweep nodes: %w", err)
	}
	held := strings.Join(now.Holds, " ")
	before, err := tx.Setting(settingHeld)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, fmt.Errorf("read keys held: %w", err)
	}
	if before == held {
		return false, nil
	}
	if err := tx.PutSetting(settingHeld, held); err != nil {
		return false, fmt.Errorf("write keys held: %w", err)
	}
	return before != "", nil
}

func (s *Sealing) self(tx SealTx) (store.RingNode, error) {
	all, err := s.nodes(tx)
	if err != nil {
		return store.RingNode{}, err
	}
	for _, n := range all {
		if n.Node == s.node {
			return n, nil
		}
	}
	return store.RingNode{}, nil
}

func (s *Sealing) nodes(tx SealTx) ([]store.RingNode, error) {
	all, err := tx.RingNodes(tx.Now().Add(-nodeLife))
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	return all, nil
}

// Leave takes a node that stops out of the list.
func (s *Sealing) Leave(tx store.Sealed) error {
	if err := tx.DeleteRingNode(s.node); err != nil {
		return fmt.Errorf("delete node: %w", err)
	}
	return nil
}

// Start makes the newest key that this node holds the one that seals, and begins a walk; with that
// key in use already it only walks once more. It returns Conflict while a node lacks the key.
func (s *Sealing) Start(tx SealTx) (key string, err error) {
	held := s.ring.SealKeys()
	key = held[len(held)-1]
	nodes, err := s.nodes(tx)
	if err != nil {
		return "", err
	}
	var without []string
	for _, n := range nodes {
		if !slices.Contains(n.Holds, key) {
			without = append(without, n.Node)
		}
	}
	if len(without) > 0 {
		return "", mfa.Errorf(mfa.Conflict, "", "These nodes do not hold the key %s yet: %s. Give them the sealing key document.",
			key, strings.Join(without, ", "))
	}
	if err := tx.PutSetting(settingSealKey, key); err != nil {
		return "", fmt.Errorf("write sealing key's id: %w", err)
	}
	before, err := readWalk(tx)
	if err != nil {
		return "", err
	}
	next := walk{Key: key, Asked: tx.Now()}
	if before.Key == key {
		next.Sealed = before.Sealed
	}
	return key, next.put(tx)
}

// Due says whether there is a walk on which this node can go on.
func (s *Sealing) Due(tx SealTx) (bool, error) {
	w, err := readWalk(tx)
	return err == nil && w.Key != "" && w.Done == 0 && w.Key == s.ring.SealKey(), err
}

// Step walks a little. more says whether there is more to do at once, done that this step has ended
// the walk.
func (s *Sealing) Step(tx SealTx) (more, done bool, err error) {
	w, err := readWalk(tx)
	if err != nil || w.Key == "" || w.Done != 0 || w.Key != s.ring.SealKey() {
		return false, false, err
	}
	if w.Began == 0 {
		ready, err := s.turned(tx, w.Key)
		if err != nil || !ready {
			return false, false, err
		}
		w.begin(tx.Now())
	}
	c, ok := column(w.Column)
	if !ok { // of a newer program, which goes on with it
		return false, false, nil
	}
	rows, err := tx.SealedValues(c, store.SealedValue{Realm: w.Realm, Key: w.Row}, sealBatch)
	if err != nil {
		return false, false, fmt.Errorf("read sealed values of %s: %w", w.Column, err)
	}
	for _, v := range rows {
		w.Realm, w.Row = v.Realm, v.Key
		if len(v.Sealed) == 0 || keys.SealedBy(v.Sealed) == w.Key {
			continue
		}
		if err := s.again(tx, c, v, &w); err != nil {
			return false, false, err
		}
	}
	if len(rows) < sealBatch {
		w.turn(tx.Now())
	}
	return w.Done == 0, w.Done != 0, w.put(tx)
}

// turned says whether every node has sealed with the key for long enough.
func (s *Sealing) turned(tx SealTx, key string) (bool, error) {
	nodes, err := s.nodes(tx)
	if err != nil {
		return false, err
	}
	for _, n := range nodes {
		if n.Seals != key || tx.Now() < n.Since.Add(settled) {
			return false, nil
		}
	}
	return len(nodes) > 0, nil
}

// again seals a value again. One that no key opens is lost already and stays as it is.
func (s *Sealing) again(tx SealTx, c sealed.Column, v store.SealedValue, w *walk) error {
	place := keys.AAD{Realm: string(v.Realm), Table: c.Table, Column: c.Column, Row: strings.Join(v.Key, c.Join)}
	if c.Encoded {
		place.Row = string(keys.Encode(v.Key...))
	}
	plain, err := s.ring.Open(v.Sealed, place)
	if errors.Is(err, keys.ErrSealed) {
		w.Unreadable++
		return nil
	}
	if err != nil {
		return err
	}
	fresh, err := s.ring.Seal(plain, place)
	if err != nil {
		return err
	}
	if err := tx.PutSealedValue(c, v, fresh); err != nil {
		return fmt.Errorf("seal %s of %s again: %w", w.Column, v.Realm, err)
	}
	w.Found++
	w.Sealed++
	return nil
}

func (w *walk) begin(now mfa.Instant) {
	w.Began, w.Round, w.Found, w.Unreadable = now, w.Round+1, 0, 0
	w.to(sealed.Columns()[0])
}

func (w *walk) to(c sealed.Column) { w.Column, w.Realm, w.Row = name(c), "", nil }

// turn goes on to the next column, or ends the round: the walk is over once a round found nothing.
func (w *walk) turn(now mfa.Instant) {
	all := sealed.Columns()
	i := slices.IndexFunc(all, func(c sealed.Column) bool { return name(c) == w.Column })
	switch {
	case i+1 < len(all):
		w.to(all[i+1])
	case w.Found > 0:
		w.begin(now)
	default:
		w.Done, w.Column, w.Realm, w.Row = now, "", "", nil
	}
}

func name(c sealed.Column) string { return c.Table + "." + c.Column }

func column(of string) (sealed.Column, bool) {
	for _, c := range sealed.Columns() {
		if name(c) == of {
			return c, true
		}
	}
	return sealed.Column{}, false
}

// SealState is where the replacement of the sealing key stands.
type SealState struct {
	Key        string // that seals
	Holds      []string
	Nodes      []store.RingNode
	Walk       string // none, waiting, running or done
	Column     string // being walked
	Round      int
	Sealed     int // values that were sealed again
	Unreadable int // values that no key opens
	DoneAt     mfa.Instant
}

// State tells where it stands.
func (s *Sealing) State(tx SealTx) (SealState, error) {
	key, err := tx.Setting(settingSealKey)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return SealState{}, fmt.Errorf("read sealing key's id: %w", err)
	}
	w, err := readWalk(tx)
	if err != nil {
		return SealState{}, err
	}
	out := SealState{
		Key: key, Holds: s.ring.SealKeys(), Walk: "none", Column: w.Column, Round: w.Round, Sealed: w.Sealed,
		Unreadable: w.Unreadable, DoneAt: w.Done,
	}
	switch {
	case w.Key == "":
	case w.Done != 0:
		out.Walk = "done"
	case w.Began == 0:
		out.Walk = "waiting"
	default:
		out.Walk = "running"
	}
	out.Nodes, err = s.nodes(tx)
	return out, err
}

// Node is the name of this node.
func (s *Sealing) Node() string { return s.node }
