package console

import (
	"maps"
	"math"
	"regexp"
	"strconv"
	"testing"
)

// themes returns the colours of the themes, by their names: light, and dark by the system's
// setting and by choice.
func themes(t *testing.T) (light, system, chosen map[string]string) {
	t.Helper()
	css, err := files.ReadFile("console.css")
	if err != nil {
		t.Fatal(err)
	}
	colours := func(selector string) map[string]string {
		block := regexp.MustCompile(regexp.QuoteMeta(selector) + ` \{([^}]*)\}`).FindSubmatch(css)
		if block == nil {
			t.Fatalf("console.css has no %s", selector)
		}
		found := make(map[string]string)
		for _, c := range regexp.MustCompile(`--(\w+): (#[0-9a-f]+)`).FindAllSubmatch(block[1], -1) {
			found[string(c[1])] = string(c[2])
		}
		return found
	}
	return colours(":root"), colours(":root:not([data-theme=light])"), colours(":root[data-theme=dark]")
}

// luminance is that of WCAG 2, of a colour like #abc or #aabbcc.
func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	if len(colour) == 4 {
		colour = "#" + colour[1:2] + colour[1:2] + colour[2:3] + colour[2:3] + colour[3:] + colour[3:]
	}
	n, err := strconv.ParseUint(colour[1:], 16, 32)
	if err != nil || len(colour) != 7 {
		t.Fatalf("%q is no colour", colour)
	}
	sum := 0.0
	for i, weight := range []float64{0.0722, 0.7152, 0.2126} {
		c := float64(n>>(8*i)&0xff) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

// TestContrast: AA of WCAG 2 in both themes, 4.5 for text and 3 for what is drawn.
func TestContrast(t *testing.T) {
	light, system, chosen := themes(t)
	if !maps.Equal(system, chosen) {
		t.Errorf("the dark theme is %v by the system's setting, %v by choice", system, chosen)
	}
	pairs := map[float64][][2]string{4.5: {{"card", "accent"}}, 3: nil} // text of the main button
	for _, back := range []string{"bg", "card"} {
		for _, c := range []string{"text", "quiet", "accent", "good", "warn", "bad"} {
			pairs[4.5] = append(pairs[4.5], [2]string{c, back})
		}
	}
	for _, c := range []string{"s0", "s1", "s2", "s3", "s4", "w0", "w1", "w2", "w3", "quiet"} {
		pairs[3] = append(pairs[3], [2]string{c, "card"})
	}
	for name, theme := range map[string]map[string]string{"light": light, "dark": chosen} {
		for least, list := range pairs {
			for _, p := range list {
				a, b := luminance(t, theme[p[0]]), luminance(t, theme[p[1]])
				if got := (max(a, b) + 0.05) / (min(a, b) + 0.05); got < least {
					t.Errorf("%s: contrast of %s on %s is %.2f, want %v at least", name, p[0], p[1], got, least)
				}
			}
		}
	}
}
