package username

import "strings"

// Form says which part of the name that an application sends is the user's name.
type Form string

// The forms an application may be set to.
const (
	// AsIs takes the whole.
	AsIs Form = "as_is"
	// StripDomain takes what follows DOMAIN\, for clients that send Windows' older names.
	StripDomain Form = "strip_domain"
	// StripSuffix takes what stands before @SUFFIX, for clients that send principal names.
	StripSuffix Form = "strip_suffix"
)

// Valid tells whether f is one of the named forms.
func (f Form) Valid() bool {
	switch f {
	case AsIs, StripDomain, StripSuffix:
		return true
	}
	return false
}

// Apply gives the canonical user name in s, which an application of form f sent, or an
// [Error]. A name without the part that the form strips is taken whole.
func Apply(f Form, s string) (string, error) {
	switch f {
	case AsIs:
		return Canonical(s)
	case StripDomain:
		return canonical(s, strings.ReplaceAll(refused, `\`, ""), WithoutDomain)
	case StripSuffix:
		return canonical(s, refused, WithoutSuffix)
	}
	return "", UnknownForm
}

// WithoutDomain gives what follows the first backslash of s, or s itself where there is
// none or nothing before it. A second backslash stays, and is refused by [Canonical].
func WithoutDomain(s string) string {
	if domain, name, found := strings.Cut(s, `\`); found && domain != "" {
		return name
	}
	return s
}

// WithoutSuffix gives what stands before the last @ of s, or s itself where there is none
// or nothing after it.
func WithoutSuffix(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 && i < len(s)-1 {
		return s[:i]
	}
	return s
}
