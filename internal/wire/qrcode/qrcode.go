// Package qrcode draws text as a QR code.
package qrcode

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strings"

	"github.com/boombuler/barcode/qr"
)

const (
	quiet = 4 // modules of white around a QR code (ISO/IEC 18004)
	scale = 8 // pixels of a module in a PNG
)

// SVG gives the code as SVG text, which refers to nothing elsewhere. It returns an error for text
// that is too long for a code.
func SVG(text string) (string, error) {
	code, err := encode(text)
	if err != nil {
		return "", err
	}
	return drawSVG(code), nil
}

// PNG gives the code as a PNG in base64. It returns an error for text that is too long for a code.
func PNG(text string) (string, error) {
	code, err := encode(text)
	if err != nil {
		return "", err
	}
	return drawPNG(code)
}

func encode(text string) (image.Image, error) {
	code, err := qr.Encode(text, qr.M, qr.Unicode)
	if err != nil {
		return nil, fmt.Errorf("draw QR code: %w", err)
	}
	return code, nil
}

// dark tells whether the module at x, y of a code drawn by boombuler is dark.
func dark(code image.Image, x, y int) bool {
	r, _, _, _ := code.At(x, y).RGBA()
	return r == 0
}

// drawSVG draws runs of dark modules as one path, without any reference to elsewhere.
func drawSVG(code image.Image) string {
	n := code.Bounds().Dx()
	var path strings.Builder
	for y := range n {
		for x := 0; x < n; x++ {
			run := 0
			for x+run < n && dark(code, x+run, y) {
				run++
			}
			if run > 0 {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", x+quiet, y+quiet, run, run)
				x += run
			}
		}
	}
	side := n + 2*quiet
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges">`+
		`<path fill="#fff" d="M0 0h%dv%dH0z"/><path fill="#000" d="%s"/></svg>`, side, side, side, side, path.String())
}

func drawPNG(code image.Image) (string, error) {
	n := code.Bounds().Dx()
	side := (n + 2*quiet) * scale
	img := image.NewPaletted(image.Rect(0, 0, side, side), color.Palette{color.White, color.Black})
	for y := range side {
		for x := range side {
			mx, my := x/scale-quiet, y/scale-quiet
			if mx >= 0 && my >= 0 && mx < n && my < n && dark(code, mx, my) {
				img.SetColorIndex(x, y, 1)
			}
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return "", fmt.Errorf("draw QR code: %w", err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}
