package svgplot

import (
	"math"
	"strconv"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/number"
	"gonum.org/v1/plot"
)

// Axis is one of the two axes of a plot.
type Axis struct {
	Label string
	Log   bool // all values are above 0

	// Ticks are where the axis has labels, in order; it begins and ends with them. Without any
	// it has round numbers: from 0 to the highest value or, if Log, from the lowest value to the
	// highest.
	Ticks []plot.Tick
}

// apply sets up gonum's axis for values from low to high.
func (a Axis) apply(to *plot.Axis, low, high float64) {
	ticks := a.Ticks
	switch {
	case len(ticks) > 0:
	case a.Log:
		ticks = logTicks(low, high)
	default:
		ticks = linearTicks(high)
	}
	to.Label.Text = a.Label
	to.Tick.Marker = plot.ConstantTicks(ticks)
	to.Min, to.Max = ticks[0].Value, ticks[len(ticks)-1].Value
	if a.Log {
		to.Scale = plot.LogScale{}
	}
}

// linearTicks returns ticks from 0 to high or above. Their distance is 1, 2 or 5 times a power
// of ten, and there are four to seven of them.
func linearTicks(high float64) []plot.Tick {
	if high <= 0 {
		high = 1 // nothing to plot
	}
	const most = 6
	digit, exponent := roundUp(high / most)
	ticks := []plot.Tick{newTick(0, 0)}
	for i := 1; ticks[i-1].Value < high; i++ {
		ticks = append(ticks, newTick(i*digit, exponent))
	}
	return ticks
}

// logTicks returns ticks from low or below to high or above: labels at 1, 2 and 5 times the
// powers of ten, or at these alone where there are many, and ticks without labels in between.
func logTicks(low, high float64) []plot.Tick {
	if low > high {
		low, high = 1, 10 // nothing to plot
	}
	const manyDecades = 3
	labelled := map[int]bool{1: true, 2: true, 5: true}
	if high/low > math.Pow10(manyDecades) {
		labelled = map[int]bool{1: true}
	}
	var ticks []plot.Tick
	for exponent := int(math.Floor(math.Log10(low))) - 1; ; exponent++ {
		for digit := 1; digit < 10; digit++ {
			tick := newTick(digit, exponent)
			if !labelled[digit] {
				tick.Label = ""
			} else if tick.Value <= low {
				ticks = nil // it begins here, or later
			}
			ticks = append(ticks, tick)
			if labelled[digit] && tick.Value >= high && len(ticks) > 1 {
				return ticks
			}
		}
	}
}

// roundUp returns the least digit × 10^exponent that is x or above; the digit is 1, 2 or 5.
func roundUp(x float64) (digit, exponent int) {
	for exponent = int(math.Floor(math.Log10(x))) - 1; ; exponent++ {
		for _, digit := range []int{1, 2, 5} {
			if scaled(digit, exponent) >= x {
				return digit, exponent
			}
		}
	}
}

// scaled returns n × 10^exponent, or the number next to it.
func scaled(n, exponent int) float64 {
	if exponent < 0 {
		return float64(n) / math.Pow10(-exponent) // 10^-1 is not exact, 10 is
	}
	return float64(n) * math.Pow10(exponent)
}

var printer = message.NewPrinter(language.English) // for its 1,234,567

func newTick(n, exponent int) plot.Tick {
	value := scaled(n, exponent)
	return plot.Tick{Value: value, Label: printer.Sprint(number.Decimal(value, number.MaxFractionDigits(max(0, -exponent))))}
}

// PercentileAxis has labels at percentiles, in order, from 0 to less than 100. Their places are
// those of Nines.
func PercentileAxis(percentiles ...float64) Axis {
	a := Axis{Label: "percentile"}
	for _, p := range percentiles {
		a.Ticks = append(a.Ticks, plot.Tick{Value: Nines(p), Label: strconv.FormatFloat(p, 'f', -1, 64) + " %"})
	}
	return a
}

// Nines returns how many nines a percentile has: 1 for 90, 2 for 99. Every nine takes the same
// width on an axis, as in plots of HdrHistogram.
func Nines(percentile float64) float64 { return -math.Log10(1 - percentile/100) }
