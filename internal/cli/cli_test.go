package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nodauth/nod/authenticator"
	"github.com/nodauth/nod/client"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"nod": func() { os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata", RequireExplicitExec: true, RequireUniqueNames: true})
}

// run is what one run of the program said.
type run struct {
	code           int
	stdout, stderr string
}

// runAt runs a verb against a server, in the same process.
func runAt(t *testing.T, server, stdin string, args ...string) run {
	t.Helper()
	var out, say bytes.Buffer
	env := map[string]string{"NOD_API_KEY": "nod_sk_x", "HOME": t.TempDir()}
	a := &app{
		ctx: context.Background(), stdin: strings.NewReader(stdin), stdout: &out, stderr: &say,
		getenv: func(name string) string { return env[name] }, now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) },
	}
	code := a.main(append(args, "--url", server))
	return run{code, out.String(), say.String()}
}

const (
	userJSON = `{"id":"usr_aaaaaaaaaaaaaaaaaaaaaaaaaa","name":"jo","display_name":"Jo","aliases":["jo@example.org"],"groups":[],"state":"active","owner":false,"has_password":true,"created_at":"2026-01-02T03:04:05.000Z"}`
	appJSON  = `{"id":"app_aaaaaaaaaaaaaaaaaaaaaaaaaa","name":"Payroll","username_form":"as_is","state":"active","created_at":"2026-01-02T03:04:05.000Z"}`
	keyJSON  = `{"id":"key_a","secret":"nod_sk_new","scopes":["authenticate"],"live":true,"created_at":"2026-01-02T03:04:05.000Z"}`
	chJSON   = `{"id":"ch_a","kind":"login","state":"pending","match":{"kinds":["digits"],"digits":"042137","qr":"NOD1:ch_a.x"},"match_now":["digits"],"others":1,"push":{"listed":true,"rung":false},"methods":["push"],"delivery":{"sent":true},"decide_by":"2026-01-02T03:06:05.000Z","created_at":"2026-01-02T03:04:05.000Z"}`
	devJSON  = `{"id":"dev_a","user_id":"usr_a","name":"phone","platform":"cli","app_version":"","state":"active","thumbprint":"t","jwk":{"kty":"EC","crv":"P-256","x":"","y":""},"enrolment_id":"enr_a","claimed_at":"2026-01-02T03:04:05.000Z"}`
	invJSON  = `{"id":"inv_a","user_id":"usr_aaaaaaaaaaaaaaaaaaaaaaaaaa","name":"=jo","purpose":"enrol","state":"live","set_password":false,"url":"https://nod.test/invitation#s","created_at":"2026-01-02T03:04:05.000Z","expires_at":"2026-01-09T03:04:05.000Z"}`
	enrJSON  = `{"id":"enr_a","user_id":"usr_a","state":"invited","url":"https://nod.test/enrol#t.p","expires_at":"2026-01-02T03:14:05.000Z"}`
)

// replies is a server that has one answer for each request.
type replies map[string]string

func (r replies) serve(t *testing.T, seen *[]string) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		name := q.Method + " " + q.URL.RequestURI()
		*seen = append(*seen, strings.TrimSpace(name+" "+string(body)))
		text, ok := r[name]
		status := 200
		if code, rest, found := strings.Cut(text, "!"); found && len(code) == 3 {
			text = rest
			status = map[string]int{"401": 401, "403": 403, "404": 404, "409": 409, "410": 410, "429": 429}[code]
		}
		switch {
		case !ok:
			t.Errorf("unexpected request %s", name)
			w.WriteHeader(500)
		case text == "":
			w.WriteHeader(204)
		default:
			kind := "application/json"
			if status >= 400 {
				kind = "application/problem+json"
			}
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func state(s string) string {
	return strings.Replace(chJSON, `"state":"pending"`, `"state":"`+s+`"`, 1)
}

func TestVerbs(t *testing.T) {
	t.Parallel()
	const (
		jo     = "GET /v1/users?name=jo"
		joID   = "usr_aaaaaaaaaaaaaaaaaaaaaaaaaa"
		apps   = "GET /v1/applications?limit=200"
		appID  = "app_aaaaaaaaaaaaaaaaaaaaaaaaaa"
		oneJo  = `{"items":[` + userJSON + `]}`
		oneApp = `{"items":[` + appJSON + `]}`
	)
	for _, tc := range []struct {
		name    string
		args    string
		stdin   string
		replies replies
		sent    string // the last request
		code    int
		shows   string // on standard output
		says    string // on standard error
	}{
		{name: "realm list", args: "realm list", replies: replies{"GET /v1/realms?limit=200": `{"items":[{"name":"default","issuer":"https://nod.test","created_at":"2026-01-02T03:04:05.000Z"}]}`}, shows: "default  https://nod.test"},
		{name: "realm show", args: "realm show", replies: replies{"GET /v1/realms/current": `{"name":"default","issuer":"https://nod.test","prompt_keys":{"keys":[]},"grant_keys_url":"u","key_set_serial":3,"pin":"p"}`}, shows: "key set     3"},
		{name: "user create", args: "user create jo --alias jo@example.org --group a,b --owner --password-file -", stdin: "correct horse\n", replies: replies{"POST /v1/users": userJSON}, sent: `POST /v1/users {"name":"jo","aliases":["jo@example.org"],"groups":["a,b"],"owner":true,"password":"correct horse"}`, shows: "jo@example.org"},
		{name: "user list", args: "user list --enrolled no", replies: replies{"GET /v1/users?enrolled=no&limit=100": oneJo}, shows: "jo    active"},
		{name: "user list, more", args: "user list --limit 1", replies: replies{"GET /v1/users?limit=1": `{"items":[` + userJSON + `],"next":"n"}`, "GET /v1/users?cursor=n&limit=1": oneJo}, says: "There are more"},
		{name: "user show", args: "user show jo", replies: replies{jo: oneJo, "GET /v1/users/" + joID + "/devices?limit=200": `{"items":[` + devJSON + `]}`, "GET /v1/users/" + joID + "/factors": `{"totp":[],"backup_codes":{"left":9,"created_at":"2026-01-02T03:04:05.000Z"}}`}, shows: "9 left of those made"},
		{name: "unknown user", args: "user show jo", replies: replies{jo: `{"items":[]}`}, code: 1, says: `there is no user "jo"`},
		{name: "user update", args: "user update jo --clear-aliases --no-owner", replies: replies{jo: oneJo, "PATCH /v1/users/" + joID: userJSON}, sent: "PATCH /v1/users/" + joID + ` {"aliases":[],"owner":false}`},
		{name: "user update, nothing", args: "user update jo", code: 2, says: "nothing is to be changed"},
		{name: "user lock", args: "user lock jo", replies: replies{jo: oneJo, "POST /v1/users/" + joID + "/lock": userJSON}, sent: "POST /v1/users/" + joID + "/lock"},
		{name: "user unlock by id", args: "user unlock " + joID, replies: replies{"GET /v1/users/" + joID: userJSON, "POST /v1/users/" + joID + "/unlock": userJSON}, sent: "POST /v1/users/" + joID + "/unlock"},
		{name: "user delete", args: "user delete jo --yes", replies: replies{jo: oneJo, "DELETE /v1/users/" + joID: ""}, shows: "Deleted jo"},
		{name: "user delete, unsure", args: "user delete jo", replies: replies{jo: oneJo}, code: 2, says: "add --yes"},
		{name: "user password", args: "user password jo", stdin: "a long enough one", replies: replies{jo: oneJo, "PUT /v1/users/" + joID + "/password": "", "GET /v1/users/" + joID: userJSON}, shows: "password      yes"},
		{name: "user lift-report", args: "user lift-report jo --challenge ch_a --challenge ch_b", replies: replies{jo: oneJo, "POST /v1/users/" + joID + "/lift-report": userJSON}, sent: "POST /v1/users/" + joID + `/lift-report {"challenges":["ch_a","ch_b"]}`},
		{name: "user totp add", args: "user totp add jo --digits 8", replies: replies{jo: oneJo, "POST /v1/users/" + joID + "/factors/totp": `{"id":"totp_a","secret":"ABC","uri":"otpauth://x"}`}, sent: "POST /v1/users/" + joID + `/factors/totp {"digits":8}`, shows: "otpauth://x"},
		{name: "user totp confirm", args: "user totp confirm jo totp_a", stdin: "042137\n", replies: replies{jo: oneJo, "POST /v1/users/" + joID + "/factors/totp/totp_a/confirm": ""}, sent: "POST /v1/users/" + joID + `/factors/totp/totp_a/confirm {"code":"042137"}`},
		{name: "user totp remove", args: "user totp remove jo totp_a", replies: replies{jo: oneJo, "DELETE /v1/users/" + joID + "/factors/totp/totp_a": ""}, shows: "Removed totp_a"},
		{name: "backup codes", args: "user backup-codes jo", replies: replies{jo: oneJo, "POST /v1/users/" + joID + "/factors/backup-codes": `{"codes":["0-aaaa","1-bbbb"]}`}, shows: "0-aaaa\n1-bbbb\n"},
		{name: "backup codes removed", args: "user backup-codes jo --remove", replies: replies{jo: oneJo, "DELETE /v1/users/" + joID + "/factors/backup-codes": ""}, shows: "Removed"},
		{name: "bypass", args: "user bypass jo --reason lost --valid-for 30m --by help_desk", replies: replies{jo: oneJo, "POST /v1/users/" + joID + "/bypass-codes": `{"id":"byp_a","code":"1234-5678","uses":1,"expires_at":"2026-01-02T03:34:05.000Z"}`}, sent: "POST /v1/users/" + joID + `/bypass-codes {"uses":1,"valid_for_seconds":1800,"reason":"lost","by":"help_desk"}`, shows: "1234-5678"},
		{name: "bypass without a reason", args: "user bypass jo", code: 2, says: "--reason"},
		{name: "bypass revoked", args: "user bypass jo --revoke", replies: replies{jo: oneJo, "DELETE /v1/users/" + joID + "/bypass-codes": ""}, shows: "Revoked"},
		{name: "prompts", args: "user prompts jo", replies: replies{jo: oneJo, "GET /v1/users/" + joID + "/prompts?limit=50": `{"items":[{"id":"ch_a","kind":"login","state":"denied","reported":true,"listed":true,"rung":true,"method":"push","created_at":"2026-01-02T03:04:05.000Z"}]}`}, shows: "denied, reported  push"},
		{name: "browsers", args: "user browsers jo --forget tp", replies: replies{jo: oneJo, "DELETE /v1/users/" + joID + "/browsers/tp": ""}, shows: "Forgot tp"},
		{name: "import", args: "user import -", stdin: "name,groups,external_id\nAda,a|b,1\nbob,,\n", replies: replies{"POST /v1/users/import": `{"items":[{"name":"ada","outcome":"created"},{"name":"bob","outcome":"changed","changes":[{"member":"groups","before":["a"],"after":[]}]}]}`}, sent: `POST /v1/users/import {"people":[{"name":"Ada","external_id":"1","groups":["a","b"]},{"name":"bob","groups":[]}]}`, shows: "+ ada\n~ bob: groups a -> none\ncreated 1, changed 1, unchanged 0, refused 0\n"},
		{name: "import, dry", args: "user import - --dry-run", stdin: "name\nada\n", replies: replies{"POST /v1/users/import": `{"items":[{"name":"ada","outcome":"unchanged"}]}`}, sent: `POST /v1/users/import {"people":[{"name":"ada"}],"dry_run":true}`, shows: "Nothing was changed; it would be: created 0, changed 0, unchanged 1, refused 0\n"},
		{name: "import, refused", args: "user import -", stdin: "name\nada\n", replies: replies{"POST /v1/users/import": `{"items":[{"name":"ada","outcome":"refused","refusal":{"code":"conflict","detail":"Taken."}}]}`}, code: 1, sent: `POST /v1/users/import {"people":[{"name":"ada"}],"dry_run":true}`, shows: "! line 2, ada: Taken.", says: "Nothing was done"},
		{name: "import, faults", args: "user import -", stdin: "name\na b\nx\nX\n", code: 1, says: "line 4: the name \"X\" stands on line 3 already"},
		{name: "user invite", args: "user invite jo --set-password --expires-in 24h", replies: replies{jo: oneJo, "POST /v1/users/" + joID + "/invitations": invJSON}, sent: "POST /v1/users/" + joID + `/invitations {"expires_in":86400,"set_password":true}`, shows: "https://nod.test/invitation#s"},
		{name: "user invite all", args: "user invite --all-without-device", replies: replies{"GET /v1/users?enrolled=no&limit=200&state=active": oneJo, "POST /v1/invitations": `{"items":[{"user_id":"` + joID + `","invitation":` + invJSON + `},{"user_id":"u","skipped":"invited"}]}`}, sent: `POST /v1/invitations {"users":["` + joID + `"],"fresh":true,"expires_in":604800}`, shows: "https://nod.test/invitation#s", says: "Left out: 1 with a live invitation"},
		{name: "user invite whom", args: "user invite", code: 2, says: "--all-without-device"},
		{name: "invitation list", args: "invitation list --state live --user jo", replies: replies{jo: oneJo, "GET /v1/invitations?limit=100&state=live&user=" + joID: `{"items":[` + invJSON + `]}`}, shows: "enrol     live"},
		{name: "invitation show", args: "invitation show inv_a", replies: replies{"GET /v1/invitations/inv_a": invJSON}, shows: "leads to  enrol"},
		{name: "invitation revoke", args: "invitation revoke inv_a", replies: replies{"POST /v1/invitations/inv_a/revoke": invJSON}, sent: "POST /v1/invitations/inv_a/revoke"},
		{name: "invitation resend", args: "invitation resend inv_a", replies: replies{"POST /v1/invitations/inv_a/resend": invJSON}, shows: "invitation#s"},
		{name: "application create", args: "app create Payroll --scope authenticate --scope administer", replies: replies{"POST /v1/applications": `{"application":` + appJSON + `,"key":` + keyJSON + `}`}, sent: `POST /v1/applications {"name":"Payroll","scopes":["authenticate","administer"]}`, shows: "nod_sk_new"},
		{name: "application list", args: "application list", replies: replies{apps: oneApp}, shows: "Payroll  as_is"},
		{name: "application show", args: "app show Payroll", replies: replies{apps: oneApp, "GET /v1/applications/" + appID + "/keys?limit=200": `{"items":[` + keyJSON + `]}`}, shows: "key_a  yes"},
		{name: "application update", args: "app update " + appID + " --username-form strip_suffix", replies: replies{"GET /v1/applications/" + appID: appJSON, "PATCH /v1/applications/" + appID: appJSON}, sent: "PATCH /v1/applications/" + appID + ` {"username_form":"strip_suffix"}`},
		{name: "application disable", args: "app disable Payroll", replies: replies{apps: oneApp, "POST /v1/applications/" + appID + "/disable": appJSON}, sent: "POST /v1/applications/" + appID + "/disable"},
		{name: "application enable", args: "app enable Payroll", replies: replies{apps: oneApp, "POST /v1/applications/" + appID + "/enable": appJSON}, sent: "POST /v1/applications/" + appID + "/enable"},
		{name: "key create", args: "app key create Payroll --valid-for 24h", replies: replies{apps: oneApp, "POST /v1/applications/" + appID + "/keys": keyJSON}, sent: "POST /v1/applications/" + appID + `/keys {"scopes":["authenticate"],"expires_at":"2026-01-03T03:04:05Z"}`},
		{name: "key list", args: "app key list Payroll", replies: replies{apps: oneApp, "GET /v1/applications/" + appID + "/keys?limit=200": `{"items":[` + keyJSON + `]}`}, shows: "key_a"},
		{name: "key rotate", args: "app key rotate Payroll --grace 0s", replies: replies{apps: oneApp, "POST /v1/applications/" + appID + "/keys/rotate": keyJSON}, sent: "POST /v1/applications/" + appID + `/keys/rotate {"grace_seconds":0}`},
		{name: "key revoke", args: "app key revoke Payroll key_a", replies: replies{apps: oneApp, "DELETE /v1/applications/" + appID + "/keys/key_a": ""}, shows: "Revoked key_a"},
		{name: "device list", args: "device list jo", replies: replies{jo: oneJo, "GET /v1/users/" + joID + "/devices?limit=200": `{"items":[` + devJSON + `]}`}, shows: "phone   cli"},
		{name: "device show", args: "device show dev_a", replies: replies{"GET /v1/devices/dev_a": devJSON}, shows: "thumbprint  t"},
		{name: "device rename", args: "device rename dev_a laptop", replies: replies{"PATCH /v1/devices/dev_a": devJSON}, sent: `PATCH /v1/devices/dev_a {"name":"laptop"}`},
		{name: "device revoke", args: "device revoke dev_a --yes", replies: replies{"DELETE /v1/devices/dev_a": ""}, shows: "Revoked dev_a"},
		{name: "device settle", args: "device settle dev_a --restore", replies: replies{"POST /v1/devices/dev_a/settle": devJSON}, sent: `POST /v1/devices/dev_a/settle {"restore":true}`},
		{name: "device settle, which", args: "device settle dev_a", code: 2, says: "--restore"},
		{name: "enrolment create", args: "enrolment create jo --lost", replies: replies{jo: oneJo, "POST /v1/users/" + joID + "/enrolments": enrJSON}, sent: "POST /v1/users/" + joID + `/enrolments {"lost":true,"by":"administrator"}`, shows: "https://nod.test/enrol#t.p\n"},
		{name: "enrolment create, what next", args: "enrolment create jo", replies: replies{jo: oneJo, "POST /v1/users/" + joID + "/enrolments": enrJSON}, says: "nod enrolment confirm enr_a DIGITS"},
		{name: "enrolment show", args: "enrolment show enr_a", replies: replies{"GET /v1/enrolments/enr_a": enrJSON}, shows: "invited"},
		{name: "enrolment confirm", args: "enrolment confirm enr_a", stdin: "042 137\n", replies: replies{"POST /v1/enrolments/enr_a/confirm": enrJSON}, sent: `POST /v1/enrolments/enr_a/confirm {"code":"042137"}`},
		{name: "enrolment cancel", args: "enrolment cancel enr_a", replies: replies{"POST /v1/enrolments/enr_a/cancel": enrJSON}},
		{name: "challenge create", args: "challenge create jo --kind transaction --detail B=1 --detail A=2=3 --match scan --match digits --ip 203.0.113.7 --nonce n --asserted", replies: replies{"POST /v1/challenges": chJSON}, sent: `POST /v1/challenges {"user":{"name":"jo"},"kind":"transaction","match":["scan","digits"],"details":[{"label":"B","value":"1"},{"label":"A","value":"2=3"}],"context":{"ip":"203.0.113.7"},"first_factor":"asserted","nonce":"n"}`, shows: "042137"},
		{name: "challenge create and wait", args: "challenge create jo --wait", replies: replies{"POST /v1/challenges": chJSON, "GET /v1/challenges/ch_a?state=pending&wait=30": state("denied")}, code: 3, shows: "denied"},
		{name: "challenge create, not listed", args: "challenge create jo --asserted", replies: replies{"POST /v1/challenges": strings.Replace(chJSON, `"push":{"listed":true,"rung":false}`, `"push":{"listed":false,"rung":false,"reason":"wait"}`, 1)}, says: "one was denied or ignored a short time ago. Scan the QR code"},
		{name: "challenge create without a first factor", args: "challenge create jo", replies: replies{"POST /v1/challenges": `403!{"code":"forbidden","reason":"first_factor_required","detail":"Policy asks for a first factor."}`}, code: 1, says: "Add --asserted"},
		{name: "challenge show", args: "challenge show ch_a", replies: replies{"GET /v1/challenges/ch_a": state("expired")}, shows: "expired"},
		{name: "challenge wait, approved", args: "challenge wait ch_a", replies: replies{"GET /v1/challenges/ch_a?state=pending&wait=30": state("approved")}, shows: "approved"},
		{name: "challenge wait, expired", args: "challenge wait ch_a", replies: replies{"GET /v1/challenges/ch_a?state=pending&wait=30": state("expired")}, code: 4},
		{name: "challenge wait, answered", args: "challenge wait ch_a --state pending", replies: replies{"GET /v1/challenges/ch_a?state=pending&wait=30": state("answered")}, code: 1},
		{name: "challenge verify", args: "challenge verify ch_a --method backup_code", stdin: "0-aaaa\n", replies: replies{"POST /v1/challenges/ch_a/verify": state("approved")}, sent: `POST /v1/challenges/ch_a/verify {"method":"backup_code","code":"0-aaaa"}`},
		{name: "challenge verify, wrong", args: "challenge verify ch_a", stdin: "000000", replies: replies{"POST /v1/challenges/ch_a/verify": chJSON}, code: 1, says: "The code is wrong."},
		{name: "challenge verify, spent", args: "challenge verify ch_a", stdin: "000000", replies: replies{"POST /v1/challenges/ch_a/verify": `429!{"code":"rate_limited","reason":"guesses_spent","detail":"No guesses are left.","retry_after":3600}`}, code: 5, says: "Try again in 1h0m0s."},
		{name: "challenge cancel", args: "challenge cancel ch_a", replies: replies{"POST /v1/challenges/ch_a/cancel": state("cancelled")}, shows: "cancelled"},
		{name: "challenge cancel, too late", args: "challenge cancel ch_a", replies: replies{"POST /v1/challenges/ch_a/cancel": `410!{"code":"gone","state":"expired","detail":"It is over."}`}, code: 4, says: "It is over."},
		{name: "challenge redeem", args: "challenge redeem ch_a --key k", replies: replies{"POST /v1/challenges/ch_a/redeem": `{"grant":"a.b.c","expires_at":"2026-01-02T03:06:05.000Z"}`}, shows: "a.b.c\n"},
		{name: "challenge redeem, denied", args: "challenge redeem ch_a", replies: replies{"POST /v1/challenges/ch_a/redeem": `409!{"code":"conflict","state":"denied","detail":"It was denied."}`}, code: 3},
		{name: "challenge redeem, once more", args: "challenge redeem ch_a", replies: replies{"POST /v1/challenges/ch_a/redeem": `409!{"code":"conflict","reason":"already_redeemed","state":"redeemed","detail":"It was redeemed."}`}, code: 1, says: "It was redeemed."},
		{name: "events", args: "event list --user jo --kind challenge. --since 1h", replies: replies{jo: oneJo, "GET /v1/events?kind=challenge.&limit=100&since=2026-01-02T02%3A04%3A05.000Z&user=" + joID: `{"items":[{"id":"evt_b","at":"2026-01-02T03:04:05.000Z","kind":"challenge.denied"},{"id":"evt_a","at":"2026-01-02T03:04:04.000Z","kind":"challenge.created","data":{"b":"2","a":"1"}}]}`}, shows: "a=1 b=2"},
		{name: "events of a challenge", args: "event list --challenge ch_a", replies: replies{"GET /v1/events?challenge=ch_a&limit=100": `{"items":[{"id":"evt_a","at":"2026-01-02T03:04:04.000Z","kind":"challenge.cancelled","actor":"server","user":"usr_a","challenge":"ch_a","data":{"reason":"policy"}}]}`}, shows: "server  reason=policy usr_a\n"},
		{name: "policy show", args: "policy show", replies: replies{"GET /v1/policies/current": `{"version":3,"document":"min_bits: 20\n","at":"2026-01-02T03:04:05.000Z","by":"key_a"}`}, shows: "min_bits: 20\n", says: "Version 3"},
		{name: "policy apply", args: "policy apply - --expect-version 3", stdin: "min_bits: 20\n", replies: replies{"PUT /v1/policies/current": `{"version":4,"changed":true}`}, sent: `PUT /v1/policies/current {"document":"min_bits: 20\n","expect_version":3}`, shows: "Version 4 is in force."},
		{name: "policy dry run", args: "policy apply - --dry-run", stdin: "a: 1\nb: 3\n", replies: replies{
			"PUT /v1/policies/current": `{"version":3,"changed":true,"document":"a: 1\nb: 3\n"}`,
			"GET /v1/policies/current": `{"version":3,"document":"a: 1\nb: 2\n"}`,
		}, shows: " a: 1\n-b: 2\n+b: 3\n"},
		{name: "policy history", args: "policy history", replies: replies{"GET /v1/policies?limit=50": `{"items":[{"version":3,"at":"2026-01-02T03:04:05.000Z","by":"key_a"}]}`}, shows: "key_a"},
		{name: "receipt show", args: "receipt show ch_a", replies: replies{"GET /v1/challenges/ch_a/receipt": `{"v":1,"method":"totp","challenge":"ch_a","at":"2026-01-02T03:04:05.000Z"}`}, shows: "totp", says: "another factor"},
		{name: "bad key", args: "realm list", replies: replies{"GET /v1/realms?limit=200": `401!{"code":"unauthenticated","detail":"The API key is not known."}`}, code: 1, says: "The API key from NOD_API_KEY is not one"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var seen []string
			s := tc.replies.serve(t, &seen)
			got := runAt(t, s.URL, tc.stdin, strings.Fields(tc.args)...)
			if got.code != tc.code {
				t.Errorf("got exit code %d, want %d\n%s%s", got.code, tc.code, got.stdout, got.stderr)
			}
			if !strings.Contains(got.stdout, tc.shows) || !strings.Contains(got.stderr, tc.says) {
				t.Errorf("want %q on standard output and %q on standard error, got\n%s---\n%s", tc.shows, tc.says, got.stdout, got.stderr)
			}
			if tc.sent != "" && (len(seen) == 0 || seen[len(seen)-1] != tc.sent) {
				t.Errorf("got last request of %q, want %q", seen, tc.sent)
			}
			if tc.code == 0 {
				checkJSON(t, tc.replies, tc.stdin, tc.args)
			}
		})
	}
}

// TestFileOfLinks: only its owner can read it, no name in it is a formula, and it replaces nothing.
func TestFileOfLinks(t *testing.T) {
	t.Parallel()
	const id = "usr_aaaaaaaaaaaaaaaaaaaaaaaaaa"
	r := replies{"GET /v1/users?enrolled=no&limit=200&state=active": `{"items":[` + userJSON + `]}`, "POST /v1/invitations": `{"items":[{"user_id":"` + id + `","invitation":` + invJSON + `}]}`}
	var seen []string
	s := r.serve(t, &seen)
	file := filepath.Join(t.TempDir(), "links.csv")
	if got := runAt(t, s.URL, "", "user", "invite", "--all-without-device", "--out", file); got.code != 0 || strings.Contains(got.stdout, "#s") {
		t.Fatalf("%+v", got)
	}
	text, err := os.ReadFile(file)
	if err != nil || string(text) != "name,link,expires\n'=jo,https://nod.test/invitation#s,2026-01-09T03:04:05Z\n" {
		t.Errorf("%q, %v", text, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	asked := len(seen)
	if got := runAt(t, s.URL, "", "user", "invite", "--all-without-device", "--out", file); got.code != 1 || len(seen) != asked {
		t.Errorf("a file that is there: %+v", got)
	}
}

// checkJSON runs the verb again with --json: standard output is JSON and nothing else.
func checkJSON(t *testing.T, r replies, stdin, args string) {
	t.Helper()
	var seen []string
	got := runAt(t, r.serve(t, &seen).URL, stdin, append(strings.Fields(args), "--json")...)
	d := json.NewDecoder(strings.NewReader(got.stdout))
	for n := 0; ; n++ {
		var v any
		if err := d.Decode(&v); err == io.EOF && n > 0 {
			return
		} else if err != nil {
			t.Fatalf("with --json, document %d: %v\n%s", n, err, got.stdout)
		}
	}
}

func TestHints(t *testing.T) {
	t.Parallel()
	refused := func(sentinel error) error { return fmt.Errorf("%w: %w", sentinel, syscall.ECONNREFUSED) }
	for _, tc := range []struct {
		err  error
		url  string
		want string
	}{
		{refused(client.ErrNoReply), "http://127.0.0.1:1", "Nothing listens at http://127.0.0.1:1."},
		{refused(authenticator.ErrNoReply), "", "the server is down"},
		{refused(errors.New("the database")), "", ""},
		{fmt.Errorf("listen: %w", syscall.EADDRINUSE), "", "Another program has that address"},
		{fmt.Errorf("%w, it is plain http", client.ErrNotNod), "https://127.0.0.1:1", "is not nod's API"},
		{&client.Error{Code: client.NotFound}, "https://auth.example.org/v1", "without the /v1"},
		{&client.Error{Code: client.NotFound}, "https://auth.example.org", ""},
		{&client.Error{Code: client.Conflict, Reason: "enrolment_closed"}, "", "once a device has opened the link"},
	} {
		a := &app{conn: connection{URL: tc.url}}
		if got := a.hint(tc.err); !strings.Contains(got, tc.want) || (got == "") != (tc.want == "") {
			t.Errorf("%v: got the hint %q, want %q", tc.err, got, tc.want)
		}
	}
}

func TestStoppedByThePerson(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var say bytes.Buffer
	a := &app{ctx: ctx, stderr: &say}
	if code := a.fail(fmt.Errorf("read a challenge: %w", context.Canceled)); code != codeError || say.String() != "Stopped.\n" {
		t.Errorf("got exit code %d and %q", code, say.String())
	}
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	var seen []string
	r := replies{"POST /v1/applications": `{"application":` + appJSON + `,"key":` + keyJSON + `}`}
	got := runAt(t, r.serve(t, &seen).URL, "", "app", "create", "Payroll", "--key-file", file)
	if got.code != 0 || strings.Contains(got.stdout+got.stderr, "nod_sk_new") {
		t.Errorf("got exit code %d and\n%s%s", got.code, got.stdout, got.stderr)
	}
	data, err := os.ReadFile(file)
	if err != nil || string(data) != "nod_sk_new\n" {
		t.Errorf("got %q, %v in the file", data, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v", info.Mode(), err)
	}
	again := runAt(t, r.serve(t, &seen).URL, "", "app", "create", "Payroll", "--key-file", file)
	if again.code != 1 || len(seen) != 1 {
		t.Errorf("over an existing file: got exit code %d after %d requests", again.code, len(seen))
	}
	refused := replies{"POST /v1/applications": `409!{"code":"conflict","reason":"name_taken","detail":"The name is taken."}`}
	other := filepath.Join(t.TempDir(), "key")
	if got := runAt(t, refused.serve(t, &seen).URL, "", "app", "create", "Payroll", "--key-file", other); got.code != 1 {
		t.Errorf("got exit code %d", got.code)
	}
	if _, err := os.Stat(other); !os.IsNotExist(err) {
		t.Error("an empty key file is left behind")
	}
}

// TestEveryVerbHelps walks the grammar: each verb has help with an example that the grammar takes.
func TestEveryVerbHelps(t *testing.T) {
	t.Parallel()
	var g grammar
	a := &app{ctx: t.Context(), stdout: io.Discard, stderr: io.Discard, getenv: func(string) string { return "" }}
	parser, err := newParser(&g, a)
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile(`(?m)^    (?:.*\| )?nod (.+?)(?: [<>|] .*)?$`)
	leaves := parser.Model.Leaves(true)
	if len(leaves) < 50 {
		t.Errorf("got %d verbs", len(leaves))
	}
	for _, leaf := range leaves {
		found := example.FindAllStringSubmatch(leaf.Detail, -1)
		if leaf.Help == "" || len(found) == 0 && leaf.Name != "completion" {
			t.Errorf("%s has no help or no example:\n%s", leaf.FullPath(), leaf.Detail)
		}
		for _, f := range found {
			args := shellWords(f[1])
			k, err := kong.Trace(parser, args)
			if err == nil {
				err = k.Error
			}
			if err != nil {
				t.Errorf("%s: the example %q is refused: %v", leaf.FullPath(), f[1], err)
			} else if k.Selected() == nil {
				t.Errorf("%s: the example %q is no verb", leaf.FullPath(), f[1])
			}
		}
	}
}

// shellWords splits as a shell does, as far as the examples go.
func shellWords(s string) []string {
	var out []string
	var word strings.Builder
	quote := rune(0)
	for _, r := range s + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote = r
		case quote == 0 && r == ' ':
			if word.Len() > 0 {
				out = append(out, word.String())
				word.Reset()
			}
		default:
			word.WriteRune(r)
		}
	}
	return out
}

func TestReceiptVectors(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../protocol/testdata/receipts.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		DeviceKey json.RawMessage   `json:"device_key"`
		RealmKeys []json.RawMessage `json:"realm_keys"`
		Good      []struct {
			Name    string          `json:"name"`
			Receipt json.RawMessage `json:"receipt"`
		} `json:"good"`
		Refused []struct {
			Name    string          `json:"name"`
			Receipt json.RawMessage `json:"receipt"`
			Member  string          `json:"member"`
		} `json:"refused"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	args := []string{"receipt", "verify", "-", "--json", "--device-key", string(v.DeviceKey)}
	for _, k := range v.RealmKeys {
		args = append(args, "--realm-key", string(k))
	}
	verify := func(receipt json.RawMessage) (int, verdict) {
		var out, say bytes.Buffer
		a := &app{ctx: t.Context(), stdin: bytes.NewReader(receipt), stdout: &out, stderr: &say, getenv: func(string) string { return "" }}
		code := a.main(args)
		var got verdict
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Errorf("%v: %s%s", err, out.String(), say.String())
		}
		return code, got
	}
	for _, g := range v.Good {
		if code, got := verify(g.Receipt); code != 0 || !got.Verified {
			t.Errorf("%s: got exit code %d, %+v", g.Name, code, got)
		}
	}
	for _, r := range v.Refused {
		if code, got := verify(r.Receipt); code != 1 || got.Verified || got.Member != r.Member {
			t.Errorf("%s: got exit code %d, %+v, want 1 and member %s", r.Name, code, got, r.Member)
		}
	}
	if len(v.Good) == 0 || len(v.Refused) == 0 {
		t.Error("no vectors")
	}
}

func TestDifference(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ before, after, want string }{
		{"a b c", "a b c", " a| b| c"},
		{"a b c", "a c", " a|-b| c"},
		{"a c", "a b c", " a|+b| c"},
		{"a", "b", "-a|+b"},
		{"", "a", "+a"},
	} {
		got := strings.Join(difference(strings.Fields(tc.before), strings.Fields(tc.after)), "|")
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%q to %q: %s", tc.before, tc.after, d)
		}
	}
}

func TestQRIsDrawnWhole(t *testing.T) {
	t.Parallel()
	var plain, color bytes.Buffer
	if err := drawQR(&plain, "https://nod.test/enrol#AAECAwQFBgcICQoLDA0ODw.Dw4NDAsKCQgHBgUEAwIBAA", false); err != nil {
		t.Fatal(err)
	}
	if err := drawQR(&color, "x", true); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(plain.String(), "\n"), "\n")
	width := len([]rune(lines[0]))
	for i, l := range lines {
		if len([]rune(l)) != width {
			t.Errorf("line %d is %d wide, the first %d", i, len([]rune(l)), width)
		}
	}
	if want := (width + 1) / 2; len(lines) != want {
		t.Errorf("got %d lines for %d columns, want %d", len(lines), width, want)
	}
	if strings.Contains(plain.String(), "\x1b") || !strings.Contains(color.String(), "\x1b[0m") {
		t.Error("colours where there are none, or none where there are")
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"us":                  "user",
		"user l":              "lift-report list lock",
		"app key ro":          "rotate",
		"app key rotate --gr": "--grace",
		"completion z":        "zsh",
		"device settle --re":  "--restore --revoke",
	} {
		var out bytes.Buffer
		a := &app{ctx: t.Context(), stdout: &out, stderr: io.Discard, getenv: func(string) string { return "" }}
		if code := a.main(append([]string{completeVerb}, strings.Split(typed, " ")...)); code != 0 {
			t.Errorf("%q: got exit code %d", typed, code)
		}
		if got := strings.Join(strings.Fields(out.String()), " "); got != want {
			t.Errorf("%q: got %q, want %q", typed, got, want)
		}
	}
}
