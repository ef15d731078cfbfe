package login

import "github.com/nodauth/nod/internal/mfa"

// texts are all that the pages of one language say, by name.
type texts map[string]string

// language is a language that pages can be in.
type language struct {
	tag     string // BCP 47
	texts   texts
	reasons map[mfa.Reason]string // of refusals, in words for whoever sits at the page
}

// english is the language of every page so far. Another one is another value of the same members.
func english() language {
	return language{
		tag: "en",
		texts: texts{
			"problem":        "Problem",
			"open_title":     "Your invitation",
			"open_text":      "You were invited to protect your account. Nothing happens before you continue.",
			"secret":         "Invitation link or code",
			"secret_hint":    "Paste the whole link that you were sent.",
			"go_on":          "Continue",
			"pass_title":     "Show that it is you",
			"pass_enrol":     "Then you can add your device.",
			"pass_reset":     "Then your new password counts. Everything that is signed in ends.",
			"user":           "User name",
			"password":       "Password",
			"new_password":   "New password",
			"new_hint":       "At least 15 characters, or 8 if you have another device or code. A few unrelated words make a good one.",
			"again":          "New password once more",
			"code":           "Code",
			"code_hint":      "From your authenticator program, or one of your backup codes.",
			"elsewhere":      "Continue elsewhere",
			"elsewhere_text": "This page cannot establish that it is you. Sign in to your organisation's application and use your invitation there, or ask your administrator.",
			"ticket_title":   "Add your device",
			"ticket_text":    "Open the authenticator on the device and scan this code.",
			"qr":             "QR code with the link below",
			"or_link":        "Or give it this link. It is good for ten minutes, once.",
			"digits":         "Six digits",
			"digits_hint":    "The device shows them after it has taken the code.",
			"confirm":        "Confirm",
			"done_title":     "Done",
			"done_enrol":     "Your device is ready. You can close this page.",
			"done_reset":     "Your new password counts from now on. You can close this page.",
			"over_title":     "This invitation is not valid",
			"over_text":      "It is not valid, or not any more. Ask whoever sent it for a new one.",
			"differ":         "The two new passwords are not the same.",
			"not_yet":        "No device has taken the code yet. Scan it first; the device then shows the digits.",
			"start_again":    "The code cannot be used any more. Show once more that it is you to get another.",
			"page_over":      "You took too long. Open the link that you were sent again.",
			"trouble":        "This did not work. Try again in a moment.",
		},
		reasons: map[mfa.Reason]string{
			mfa.ReasonCredentials:  "The password is wrong.",
			mfa.ReasonWrongCode:    "The code is wrong.",
			mfa.ReasonGuessesSpent: "Too many wrong answers. Wait an hour, then try again.",
			mfa.ReasonBusy:         "The server is busy. Try again in a moment.",
		},
	}
}
