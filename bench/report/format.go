package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

var printer = message.NewPrinter(language.English) // for its 1,234,567

const nothing = "–" // for what was not measured

// plain writes a number as short as it can be.
func plain(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

// number writes a measured number to three digits or to whole ones.
func number(x float64) string {
	switch {
	case !isMeasured(x):
		return nothing
	case x == 0 || math.Abs(x) >= 100:
		return printer.Sprintf("%.0f", x)
	case math.Abs(x) >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// spread writes the median of ratios and in brackets the lowest and highest.
func spread(sorted []float64) string {
	if len(sorted) == 0 {
		return nothing
	}
	return fmt.Sprintf("%s (%s … %s)", number(median(sorted)), number(sorted[0]), number(sorted[len(sorted)-1]))
}

// powerOfTen writes 10^k with a superscript.
func powerOfTen(n int) string {
	digits := []rune("⁰¹²³⁴⁵⁶⁷⁸⁹")
	return "10" + string(digits[int(math.Round(math.Log10(float64(n))))])
}

// writeTable writes rows in Markdown; the first row is the head, and all columns but the first
// are numbers.
func writeTable(w io.Writer, rows ...[]string) {
	for i, row := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(w, "|---|%s\n", strings.Repeat("---:|", len(row)-1))
		}
	}
	fmt.Fprintln(w)
}
