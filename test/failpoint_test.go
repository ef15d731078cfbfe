package test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// failStep is which statements fail: every fifth in make test, with another beginning for each
// request, and fewer of requests that hash; FAILPOINTS=all for each of them.
func failStep(t *testing.T, hashes bool) int {
	switch text := os.Getenv("FAILPOINTS"); text {
	case "":
		if hashes {
			return 20
		}
		return 5
	case "all":
		return 1
	default:
		step, err := strconv.Atoi(text)
		if err != nil || step < 1 {
			t.Fatalf("FAILPOINTS=%q is neither all nor a number", text)
		}
		return step
	}
}

// stage is a server over a database that fails when it is told to.
type stage struct {
	*node
	f    *faulty
	app  string
	next int
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{f: new(faulty)}
	s.node = start(t, nodeOptions{dir: memoryDir(t), store: func(db store.Store) store.Store {
		s.f.Store = db
		return s.f
	}})
	s.app = s.node.app("wiki")
	return s
}

// memoryDir is a directory in memory where the system has one: nothing here tests the disk.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "nod-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// person makes a user of whom nobody has heard.
func (s *stage) person() (name, id string) {
	s.next++
	name = fmt.Sprintf("person%d", s.next)
	return name, s.user(name)
}

// scene makes a user with a device and a challenge that it shows.
func (s *stage) scene() *scene {
	name, id := s.person()
	c := &scene{n: s.node, app: s.app, who: id, d: s.enrol(id)}
	c.c = s.challenge(s.app, name)
	c.id = c.c.get("id")
	c.p = c.d.prompt(c.id)
	return c
}

// events counts the events of a kind about a user.
func (s *stage) events(query, kind string) int {
	a := s.call(s.admin, "GET", "/v1/events?limit=200&kind="+kind+"&"+query, nil).want(s.t, 200)
	return bytes.Count(a.body, []byte(`"kind":"`+kind+`"`))
}

// post sends a request, and the same one each time that it is called.
func (s *stage) post(key, path string, body any) func() answer {
	idempotency := secret.ID("k_")
	return func() answer {
		a, _ := s.try(key, "POST", path, body, "Idempotency-Key", idempotency) // without an answer its status is 0
		return a
	}
}

func (d *device) sends(path, raw string) func() answer {
	return func() answer {
		a, _ := d.tryPost(path, raw)
		return a
	}
}

// attempt is one request that meets a failure.
type attempt struct {
	do func() answer
	// may are the statuses of the repetition after the failure, besides the good one. It is
	// refused where the first was carried out and the protocol says that once is enough.
	good int
	may  []int
	// after checks what is so once a repetition was answered.
	after func(t *testing.T)
}

// TestFailpoints fails every transaction and, in the short form, every fifth statement of each
// request of a whole sign-in and of what leads to it. No failure is answered as a success, and a
// repetition of the request finds one effect with its event: one challenge, one grant, one device.
func TestFailpoints(t *testing.T) {
	t.Parallel()
	for name, make := range failpoints {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			points := 0
			sweep(t, s.f, name, func(how failure, at int) bool {
				a := make(s)
				s.f.arm(how, at)
				first := a.do()
				if !s.f.mend() {
					return false
				}
				points++
				where := fmt.Sprintf("%s, where %s (%d)", name, how, at)
				if first.status >= 500 && (first.get("code") != "internal" && first.get("code") != "unavailable") {
					t.Fatalf("%s: %d %s", where, first.status, first.body)
				}
				if bytes.Contains(first.body, []byte("injected")) {
					t.Fatalf("%s tells the cause: %s", where, first.body)
				}
				// Where nobody could say that the request has ended, it ends with its lease.
				s.offset.Add(int64(31 * time.Second))
				again := a.do()
				ok := again.status == a.good
				for _, status := range a.may {
					ok = ok || again.status == status
				}
				if !ok || (first.status == a.good && again.status != a.good && len(a.may) == 0) {
					t.Fatalf("%s was answered %d %s and then %d %s", where, first.status, first.body, again.status, again.body)
				}
				a.after(t)
				return true
			})
			if points < 4 {
				t.Errorf("only %d failures happened", points)
			}
			t.Logf("%d failures", points)
		})
	}
}

// sweep runs each failure at the first place, the second and so on, until one does not happen.
func sweep(t *testing.T, f *faulty, name string, run func(how failure, at int) bool) {
	step := failStep(t, strings.HasSuffix(name, "codes") || strings.HasSuffix(name, "bypass code"))
	for _, how := range failures {
		at, by := 1, 1
		if how == statement {
			at, by = 1+len(name)%step, step
		}
		for run(how, at) {
			at += by
		}
	}
	f.mend()
}

var failpoints = map[string]func(*stage) attempt{
	"create": func(s *stage) attempt {
		name, id := s.person()
		s.enrol(id)
		return attempt{
			do: s.post(s.app, "/v1/challenges", request(name)), good: 201, may: []int{409}, // made, its secrets lost
			after: s.one("user="+id, "challenge.created"),
		}
	},
	"poll": func(s *stage) attempt {
		c := s.scene()
		body := c.d.sign(&protocol.Poll{V: 1, Challenge: c.id, KeysSerial: c.d.serial, Have: []string{}},
			protocol.Header{KeyID: c.d.id, URL: s.url + protocol.PathPrompts})
		return attempt{do: c.d.sends(protocol.PathPrompts, body), good: 200, after: func(*testing.T) { c.honest() }}
	},
	"approve": func(s *stage) attempt {
		c := s.scene()
		return attempt{
			do: c.d.sends(protocol.PathDecisions, c.d.decision(c.right())), good: 200,
			after: func(t *testing.T) {
				s.one("challenge="+c.id, "challenge.approved")(t)
				s.redeem(s.app, c.id).want(t, 200)
			},
		}
	},
	"deny": func(s *stage) attempt {
		c := s.scene()
		return attempt{
			do: c.d.sends(protocol.PathDecisions, c.d.decision(refuse(c.id, protocol.VerdictDeny))), good: 200,
			after: func(t *testing.T) {
				s.one("challenge="+c.id, "challenge.denied")(t)
				c.d.decide(c.right()).want(t, 409)
				s.noGrant(s.app, c.id)
			},
		}
	},
	"report": func(s *stage) attempt {
		c := s.scene()
		c.d.decide(c.right()).want(s.t, 200)
		return attempt{
			do: c.d.sends(protocol.PathDecisions, c.d.decision(refuse(c.id, protocol.VerdictReport))), good: 200,
			after: func(t *testing.T) {
				s.one("user="+c.who, "user.reported")(t)
				s.noGrant(s.app, c.id)
			},
		}
	},
	"read": func(s *stage) attempt {
		c := s.scene()
		return attempt{
			do: func() answer {
				a, _ := s.try(s.app, "GET", "/v1/challenges/"+c.id, nil)
				return a
			}, good: 200, after: func(*testing.T) { c.honest() },
		}
	},
	"verify": func(s *stage) attempt {
		name, id := s.person()
		code := s.totp(id)(1)
		c := s.challenge(s.app, name).get("id")
		return attempt{
			do:   s.post(s.app, "/v1/challenges/"+c+"/verify", obj{"method": "totp", "code": code}),
			good: 200, may: []int{409}, // approved already
			after: func(t *testing.T) {
				s.one("challenge="+c, "challenge.approved")(t)
				s.redeem(s.app, c).want(t, 200)
				other := s.challenge(s.app, name).get("id")
				s.call(s.app, "POST", "/v1/challenges/"+other+"/verify", obj{"method": "totp", "code": code}).want(t, 200)
				s.noGrant(s.app, other)
			},
		}
	},
	"redeem": func(s *stage) attempt {
		c := s.scene()
		c.d.decide(c.right()).want(s.t, 200)
		return attempt{
			do: s.post(s.app, "/v1/challenges/"+c.id+"/redeem", nil), good: 200,
			after: func(t *testing.T) {
				s.one("challenge="+c.id, "challenge.redeemed")(t)
				s.redeem(s.app, c.id).want(t, 409)
			},
		}
	},
	"cancel": func(s *stage) attempt {
		c := s.scene()
		c.d.decide(c.right()).want(s.t, 200)
		return attempt{
			do: s.post(s.app, "/v1/challenges/"+c.id+"/cancel", nil), good: 200, may: []int{409}, // cancelled already
			after: func(t *testing.T) {
				s.one("challenge="+c.id, "challenge.cancelled")(t)
				s.noGrant(s.app, c.id)
			},
		}
	},
	"lock": func(s *stage) attempt {
		c := s.scene()
		c.d.decide(c.right()).want(s.t, 200)
		return attempt{
			do: s.post(s.admin, "/v1/users/"+c.who+"/lock", nil), good: 200,
			after: func(t *testing.T) {
				s.one("user="+c.who, "user.locked")(t)
				s.noGrant(s.app, c.id)
			},
		}
	},
	"revoke": func(s *stage) attempt {
		c := s.scene()
		c.d.decide(c.right()).want(s.t, 200)
		return attempt{
			do: func() answer {
				a, _ := s.try(s.admin, "DELETE", "/v1/devices/"+c.d.id, nil)
				return a
			}, good: 204,
			after: func(t *testing.T) {
				s.one("user="+c.who, "device.revoked")(t)
				s.noGrant(s.app, c.id)
			},
		}
	},
	"enrol": func(s *stage) attempt {
		_, id := s.person()
		do := s.post(s.admin, "/v1/users/"+id+"/enrolments", obj{})
		return attempt{do: do, good: 201, after: func(t *testing.T) {
			s.one("user="+id, "enrolment.created")(t)
			if url := do().want(t, 201).get("url"); url == "" {
				t.Error("the repetition has no link")
			}
		}}
	},
	"claim": func(s *stage) attempt {
		_, id := s.person()
		d, body := s.unclaimed(id)
		return attempt{do: d.sends(protocol.PathEnrol, body), good: 201, after: s.one("user="+id, "enrolment.claimed")}
	},
	"confirm": func(s *stage) attempt {
		_, id := s.person()
		d, code := s.claim(id)
		return attempt{
			do: s.post(s.admin, "/v1/enrolments/"+d.enrol+"/confirm", obj{"code": code}), good: 200, may: []int{409}, // done already
			after: func(t *testing.T) {
				s.one("user="+id, "device.added")(t)
				if state := s.call(s.admin, "GET", "/v1/devices/"+d.id, nil).want(t, 200).get("state"); state != "active" {
					t.Errorf("the device is %s", state)
				}
			},
		}
	},
	"user": func(s *stage) attempt {
		s.next++
		do := s.post(s.admin, "/v1/users", obj{"name": fmt.Sprintf("person%d", s.next)})
		return attempt{do: do, good: 201, after: func(t *testing.T) {
			a := do().want(t, 201)
			s.one("user="+a.get("id"), "user.created")(t)
			if a.header.Get("Location") != "/v1/users/"+a.get("id") {
				t.Errorf("the repetition is at %q", a.header.Get("Location"))
			}
		}}
	},
	"application": func(s *stage) attempt {
		s.next++
		do := s.post(s.admin, "/v1/applications", obj{"name": fmt.Sprintf("app%d", s.next), "scopes": mayAsk})
		return attempt{do: do, good: 201, after: func(t *testing.T) {
			a := do().want(t, 201)
			s.one("application="+a.get("application.id"), "application.created")(t)
			s.challenge(a.get("key.secret"), "somebody")
		}}
	},
	"key": func(s *stage) attempt {
		s.next++
		app := s.call(s.admin, "POST", "/v1/applications", obj{"name": fmt.Sprintf("app%d", s.next)}).want(s.t, 201).get("application.id")
		do := s.post(s.admin, "/v1/applications/"+app+"/keys", obj{"scopes": mayAsk})
		return attempt{do: do, good: 201, after: func(t *testing.T) {
			s.challenge(do().want(t, 201).get("secret"), "somebody")
			if n := s.events("application="+app, "application.key_created"); n != 2 {
				t.Errorf("%d keys were made, want the first and one more", n)
			}
		}}
	},
	"totp": func(s *stage) attempt {
		_, id := s.person()
		do := s.post(s.admin, "/v1/users/"+id+"/factors/totp", obj{})
		return attempt{do: do, good: 201, after: func(t *testing.T) {
			s.one("user="+id, "totp.created")(t)
			if do().want(t, 201).get("secret") == "" {
				t.Error("the repetition has no seed")
			}
		}}
	},
	"bypass code": func(s *stage) attempt {
		name, id := s.person()
		do := s.post(s.admin, "/v1/users/"+id+"/bypass-codes", obj{"reason": "test"})
		return attempt{do: do, good: 201, after: func(t *testing.T) {
			s.one("user="+id, "bypass_code.issued")(t)
			c := s.challenge(s.app, name).get("id")
			code := do().want(t, 201).get("code")
			s.call(s.app, "POST", "/v1/challenges/"+c+"/verify", obj{"method": "bypass_code", "code": code}).want(t, 200)
			s.redeem(s.app, c).want(t, 200)
		}}
	},
	"backup codes": func(s *stage) attempt {
		_, id := s.person()
		do := s.post(s.admin, "/v1/users/"+id+"/factors/backup-codes", obj{})
		return attempt{do: do, good: 201, after: s.one("user="+id, "backup_codes.created")}
	},
}

var mayAsk = []string{"authenticate", "assert_first_factor"}

// one checks that there is one event of a kind.
func (s *stage) one(query, kind string) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if n := s.events(query, kind); n != 1 {
			t.Errorf("%d events %s, want 1", n, kind)
		}
	}
}

// TestFailpointsOfAttacks fails every transaction and statement of requests that must be refused:
// no failure makes one of them succeed, whatever comes of it later.
func TestFailpointsOfAttacks(t *testing.T) {
	t.Parallel()
	for name, make := range attacks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			points := 0
			sweep(t, s.f, name, func(how failure, at int) bool {
				do, app, challenge := make(s)
				s.f.arm(how, at)
				a := do()
				if !s.f.mend() {
					return false
				}
				points++
				if a.get("grant") != "" || a.get("state") == "approved" || a.get("state") == "confirmed" {
					t.Fatalf("where %s (%d), it succeeded: %d %s", how, at, a.status, a.body)
				}
				if challenge != "" {
					s.noGrant(app, challenge)
				}
				return true
			})
			if points < 4 {
				t.Errorf("only %d failures happened", points)
			}
			t.Logf("%d failures", points)
		})
	}
}

// attacks make a request that is to be refused, and name the challenge that must have no grant.
var attacks = map[string]func(*stage) (do func() answer, app, challenge string){
	"wrong digits": func(s *stage) (func() answer, string, string) {
		c := s.scene()
		d := c.right()
		d.Answer = wrongDigits(d.Answer)
		return c.d.sends(protocol.PathDecisions, c.d.decision(d)), s.app, c.id
	},
	"another's key": func(s *stage) (func() answer, string, string) {
		c := s.scene()
		thief := *c.d
		thief.key = s.scene().d.key
		return c.d.sends(protocol.PathDecisions, thief.decision(c.right())), s.app, c.id
	},
	"another's device": func(s *stage) (func() answer, string, string) {
		c := s.scene()
		return c.d.sends(protocol.PathDecisions, s.scene().d.decision(c.right())), s.app, c.id
	},
	"revoked device": func(s *stage) (func() answer, string, string) {
		c := s.scene()
		s.call(s.admin, "DELETE", "/v1/devices/"+c.d.id, nil).want(s.t, 204)
		return c.d.sends(protocol.PathDecisions, c.d.decision(c.right())), s.app, c.id
	},
	"unconfirmed device": func(s *stage) (func() answer, string, string) {
		c := s.scene()
		d, _ := s.claim(c.who)
		return d.sends(protocol.PathDecisions, d.decision(c.right())), s.app, c.id
	},
	"approval after a denial": func(s *stage) (func() answer, string, string) {
		c := s.scene()
		c.d.decide(refuse(c.id, protocol.VerdictDeny)).want(s.t, 200)
		return c.d.sends(protocol.PathDecisions, c.d.decision(c.right())), s.app, c.id
	},
	"wrong code": func(s *stage) (func() answer, string, string) {
		name, id := s.person()
		code := s.totp(id)
		c := s.challenge(s.app, name).get("id")
		return s.post(s.app, "/v1/challenges/"+c+"/verify", obj{"method": "totp", "code": wrongDigits(code(1))}), s.app, c
	},
	"used code": func(s *stage) (func() answer, string, string) {
		name, id := s.person()
		code := s.totp(id)
		c := s.challenge(s.app, name).get("id")
		s.call(s.app, "POST", "/v1/challenges/"+c+"/verify", obj{"method": "totp", "code": code(1)}).want(s.t, 200)
		c = s.challenge(s.app, name).get("id")
		return s.post(s.app, "/v1/challenges/"+c+"/verify", obj{"method": "totp", "code": code(1)}), s.app, c
	},
	"wrong bypass code": func(s *stage) (func() answer, string, string) {
		name, id := s.person()
		s.call(s.admin, "POST", "/v1/users/"+id+"/bypass-codes", obj{"reason": "test"}).want(s.t, 201)
		c := s.challenge(s.app, name).get("id")
		return s.post(s.app, "/v1/challenges/"+c+"/verify", obj{"method": "bypass_code", "code": "1234-5678-9012"}), s.app, c
	},
	"pending": func(s *stage) (func() answer, string, string) {
		c := s.scene()
		return s.post(s.app, "/v1/challenges/"+c.id+"/redeem", nil), s.app, c.id
	},
	"another application": func(s *stage) (func() answer, string, string) {
		c := s.scene()
		c.d.decide(c.right()).want(s.t, 200)
		other := s.node.app(fmt.Sprintf("other%d", s.next))
		return s.post(other, "/v1/challenges/"+c.id+"/redeem", nil), other, c.id
	},
	"second grant": func(s *stage) (func() answer, string, string) {
		c := s.scene()
		c.honest()
		return s.post(s.app, "/v1/challenges/"+c.id+"/redeem", nil), s.app, c.id
	},
	"locked user": func(s *stage) (func() answer, string, string) {
		c := s.scene()
		c.d.decide(c.right()).want(s.t, 200)
		s.call(s.admin, "POST", "/v1/users/"+c.who+"/lock", nil).want(s.t, 200)
		return s.post(s.app, "/v1/challenges/"+c.id+"/redeem", nil), s.app, c.id
	},
	"wrong confirmation": func(s *stage) (func() answer, string, string) {
		_, id := s.person()
		d, code := s.claim(id)
		return s.post(s.admin, "/v1/enrolments/"+d.enrol+"/confirm", obj{"code": wrongDigits(code)}), "", ""
	},
}

// wrongDigits gives other digits.
func wrongDigits(right string) string {
	digits := []byte(right)
	digits[0] = '0' + (digits[0]-'0'+5)%10
	return string(digits)
}
