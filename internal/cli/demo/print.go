package demo

import (
	"encoding/json"
	"fmt"
	"strings"
)

func (c Config) print(r Result) error {
	if c.JSON {
		enc := json.NewEncoder(c.Out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(r); err != nil {
			return fmt.Errorf("print: %w", err)
		}
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s signed in with six digits and a signed approval.\n\n", r.User)
	for _, s := range r.Timeline {
		fmt.Fprintf(&b, "  %8.1f ms  %s\n", s.MS, s.Step)
	}
	fmt.Fprintf(&b, "\nThe grant, verified with the server's published keys:\n  sub %s  acr %s  amr %s  match %s (%d bits)\n",
		r.Grant.Subject, r.Grant.ACR, strings.Join(r.Grant.AMR, " "), r.Grant.Match, r.Grant.MatchBits)
	fmt.Fprintf(&b, "\nThe receipt, verified with nothing but itself and two keys taken at enrolment:\n"+
		"  %s receipt verify --device-key %s --realm-key %s %s\n", c.Program, r.Files.DeviceKey, r.Files.RealmKey, r.Files.Receipt)
	if !c.Exit {
		fmt.Fprintf(&b, "\nThe server goes on. In another terminal, be the phone:\n  %s authenticator watch --file %s\n", c.Program, r.Files.Authenticator)
		fmt.Fprintf(&b, "and in a third one the login page:\n  NOD_URL=%s NOD_API_KEY_FILE=%s %s challenge create %s --asserted --wait\n", r.URL, r.Files.AppKey, c.Program, r.User)
		fmt.Fprintf(&b, "or the administrator:\n  NOD_DATA_DIR=%s %s user show %s\n", c.Server.DataDir, c.Program, r.User)
		fmt.Fprintf(&b, "\n  API       %s/v1\n  OpenAPI   %s/openapi.json\n  admin key %s\n\nStop with Ctrl-C.\n", r.URL, r.URL, r.Files.AdminKey)
	}
	if _, err := fmt.Fprint(c.Out, b.String()); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
