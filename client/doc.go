// Package client speaks nod's API for applications and administrators.
//
//	c, err := client.New(client.Config{URL: "https://auth.example.org", APIKey: key, Application: "app_…"})
//	ch, err := c.Challenges.Create(ctx, client.NewChallenge{
//		User: client.UserRef{Name: "jo"}, Kind: client.Login, Nonce: nonce,
//	})
//	// Show ch.Match.Digits and ch.Match.QR on the login page, then:
//	ch, err = c.Challenges.Wait(ctx, ch.ID)
//	redeemed, err := c.Challenges.Redeem(ctx, ch.ID)
//	grant, err := c.VerifyGrant(ctx, redeemed.Grant, client.GrantWanted{Challenge: ch.ID, Nonce: nonce})
//
// Only a verified grant lets somebody in. A state, even approved, is what the connection says;
// the grant is what nod signed, for this application and this challenge, and Redeem gives it
// once. Every error is a denial.
//
// The client reaches servers over https, and over plain http on loopback only. It follows no
// redirect, takes no proxy from the environment, and reads a bounded number of bytes. What may be
// repeated is repeated when a reply is lost or the server asks for patience: reads, PUT and DELETE
// by their nature, POST because each carries an idempotency key. Everything is safe for concurrent
// use.
package client
