package mfa

import "slices"

// The authentication context classes that a grant can state.
const (
	ACRLow               = "urn:nod:low" // push below StrongBits, e-mail, bypass code
	ACROne               = "urn:nod:1"   // one factor
	ACRTwo               = "urn:nod:2"   // two factors
	ACRPhishingResistant = "urn:nod:2pr" // two factors, by passkey
)

// Assurance gives the amr (RFC 8176) and acr of a sign-in. amr says only what nod itself checked:
// a first factor that an application asserted raises acr and is not in amr.
func Assurance(first FirstFactor, e Evidence) (amr []string, acr string) {
	amr = []string{}
	if first == FirstFactorPassword {
		amr = append(amr, "pwd")
	}
	second := possession(e)
	amr = append(amr, second...)
	acr = class(first, e)
	if first == FirstFactorPassword && len(second) > 0 && acr != ACRLow {
		amr = append(amr, "mfa")
	}
	return amr, acr
}

func possession(e Evidence) []string {
	switch e.Method {
	case Push:
		out := []string{"swk", "user"}
		if e.Match.Bits() >= StrongBits {
			out = append(out, "mca")
		}
		return out
	case TOTP, OATH, BackupCode:
		return []string{"otp"}
	case Passkey:
		return []string{"swk", "user"}
	case SMS:
		return []string{"sms"}
	case Email, BypassCode:
		return nil
	}
	return nil
}

func class(first FirstFactor, e Evidence) string {
	if len(possession(e)) == 0 || (e.Method == Push && e.Match.Bits() < StrongBits) {
		return ACRLow
	}
	two := first.Satisfies(FirstFactorAsserted) && slices.Contains([]Method{Push, TOTP, OATH}, e.Method)
	switch {
	case e.Method == Passkey && e.UserVerified:
		return ACRPhishingResistant
	case two, e.Method == Push && e.UserVerified:
		return ACRTwo
	}
	return ACROne
}
