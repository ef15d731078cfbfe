package rest

import "github.com/nodauth/nod/internal/wire/qrcode"

func pictureParam() param {
	return param{name: "qr", values: []string{"svg", "png"}, about: "Adds `qr`: the link as a picture."}
}

// picture draws text as a QR code: SVG text, PNG in base64, or nothing for no form.
func picture(form, text string) (string, error) {
	switch form {
	case "svg":
		return qrcode.SVG(text)
	case "png":
		return qrcode.PNG(text)
	}
	return "", nil
}
