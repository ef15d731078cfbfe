// Package authenticator is the device side of nod as a library: it enrols devices, waits for
// prompts, verifies and answers them, and keeps the keys.
//
// One [Authenticator] holds any number of accounts on any number of servers. An account is one
// device enrolled in one realm of one issuer, with a key of its own that never leaves the
// [Store]. From enrolment on, the realm's signing keys are pinned: nothing is shown that they
// did not sign, and a new key set is followed only if the old one vouches for it.
//
//	store, err := authenticator.OpenFile(path, authenticator.Passphrase(pass))
//	a, err := authenticator.New(authenticator.Config{Store: store, Platform: protocol.PlatformCLI})
//	e, err := a.Enrol(ctx, link, "Jo's laptop") // show e.ConfirmCode
//	account, err := e.Wait(ctx)
//	d, err := a.Device(account.ID)
//	err = d.Watch(ctx, func(u authenticator.Update) error { ... })
//	result, err := d.Approve(ctx, prompt, authenticator.Approval{Match: protocol.MatchDigits, Answer: "042137"})
//
// The secret of a login page's QR comes only from text that a person scanned or typed, through
// [ScanAnswer] or [Device.Scan]; no link, notification or other program may supply it.
//
// Servers are reached over https, and over plain http on loopback only; redirects are never
// followed. Everything is safe for concurrent use, and several processes may share one file.
package authenticator
