package qrcode

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"image"
	"image/png"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/boombuler/barcode/qr"
	"github.com/google/go-cmp/cmp"
)

// drawn writes a picture as text, a line for each row of modules.
func drawn(side int, dark func(x, y int) bool) string {
	var b strings.Builder
	for y := range side {
		for x := range side {
			b.WriteByte(" #"[map[bool]int{true: 1}[dark(x, y)]])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

var runs = regexp.MustCompile(`M(\d+) (\d+)h(\d+)v1h-(\d+)z`)

// TestPictures: SVG and PNG show the modules of the code, inside four white ones on each side.
func TestPictures(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"https://nod.example/enrol#" + strings.Repeat("A", 22) + "." + strings.Repeat("b", 22),
		"otpauth://totp/nod.example:jo?secret=" + strings.Repeat("A", 32) + "&issuer=nod.example",
	} {
		code, err := qr.Encode(text, qr.M, qr.Unicode)
		if err != nil {
			t.Fatal(err)
		}
		n := code.Bounds().Dx()
		want := drawn(n+2*quiet, func(x, y int) bool {
			return image.Pt(x-quiet, y-quiet).In(code.Bounds()) && dark(code, x-quiet, y-quiet)
		})
		finder := "#######"
		if lines := strings.Split(want, "\n"); !strings.HasPrefix(strings.TrimLeft(lines[quiet], " "), finder) || strings.Contains(strings.Join(lines[:quiet], ""), "#") {
			t.Fatalf("no finder pattern or no quiet zone:\n%s", want)
		}

		svg, err := SVG(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := xml.Unmarshal([]byte(svg), new(struct{ XMLName xml.Name })); err != nil {
			t.Error(err)
		}
		if strings.Contains(svg, "href") || strings.Contains(svg, "script") || !strings.Contains(svg, fmt.Sprintf(`viewBox="0 0 %d %d"`, n+2*quiet, n+2*quiet)) {
			t.Errorf("SVG %.120s", svg)
		}
		black := map[[2]int]bool{}
		for _, m := range runs.FindAllStringSubmatch(svg, -1) {
			x, _ := strconv.Atoi(m[1])
			y, _ := strconv.Atoi(m[2])
			run, _ := strconv.Atoi(m[3])
			if m[3] != m[4] {
				t.Errorf("run %s is no rectangle", m[0])
			}
			for i := range run {
				black[[2]int{x + i, y}] = true
			}
		}
		if diff := cmp.Diff(want, drawn(n+2*quiet, func(x, y int) bool { return black[[2]int{x, y}] })); diff != "" {
			t.Errorf("SVG shows another code:\n%s", diff)
		}

		text64, err := PNG(text)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := base64.StdEncoding.DecodeString(text64)
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, drawn(n+2*quiet, func(x, y int) bool { return dark(img, x*scale+scale/2, y*scale+scale/2) })); diff != "" {
			t.Errorf("PNG shows another code:\n%s", diff)
		}
	}
}
