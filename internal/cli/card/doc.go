// Package card is the authenticator in a terminal: it shows each prompt as a card and takes the
// person's answer.
//
// A sign-in and a transaction look different, the card of a known browser comes first, and the
// keys go to the card that the person chose, never to one that came up meanwhile. Pasted text is
// not taken: the digits of a page are read by eyes, and what a link or another program put on the
// clipboard must not approve anything.
package card
