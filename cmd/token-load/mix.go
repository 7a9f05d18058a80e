package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// operation is one kind of request that the load consists of.
type operation uint8

const (
	opCreate operation = iota
	opExchange
	opPatch // an exchange with a patch
	opValidate
	opDelete
	opReplay // an exchange of a token that is spent
	operationCount
	noOperation = operationCount // of what concerns a connection as a whole
)

var operationNames = [...]string{"create", "exchange", "patch", "validate", "delete", "replay", noOperation: "-"}

func (o operation) String() string { return operationNames[o] }

func parseOperation(name string) (operation, bool) {
	o := slices.Index(operationNames[:operationCount], name)
	return operation(max(o, 0)), o >= 0
}

const maxWeight = 1_000_000

// mix holds the operations' weights. It is a flags.Value: exchange=80,patch=10,create=5,…
// Operations that the text does not name have no weight.
type mix struct {
	weights [operationCount]uint32
	total   uint32
}

// defaultMix keeps the number of sessions about constant.
var defaultMix = newMix([operationCount]uint32{opExchange: 80, opPatch: 10, opCreate: 3, opValidate: 2, opDelete: 3, opReplay: 2})

func newMix(weights [operationCount]uint32) mix {
	m := mix{weights: weights}
	for _, w := range weights {
		m.total += w
	}
	return m
}

// pick returns a random operation, each with its weight's probability.
func (m *mix) pick(rng *rand.Rand) operation {
	n := rng.Uint32N(m.total)
	for o, w := range m.weights {
		if n < w {
			return operation(o)
		}
		n -= w
	}
	panic("unreachable: the weights add up to the total")
}

func (m *mix) needsSessions() bool { return m.total > m.weights[opCreate] }

// Type implements pflag.Value.
func (m *mix) Type() string { return "weights" }

// String implements pflag.Value.
func (m *mix) String() string {
	var parts []string
	for o, w := range m.weights {
		if w > 0 {
			parts = append(parts, fmt.Sprintf("%s=%d", operation(o), w))
		}
	}
	return strings.Join(parts, ",")
}

// Allowed implements flags.Value.
func (m *mix) Allowed() string {
	return fmt.Sprintf("%s, each once, with =0 … %d", strings.Join(operationNames[:operationCount], ", "), maxWeight)
}

// Needs implements flags.Value.
func (m *mix) Needs() string { return "one or more of " + m.Allowed() }

// Set implements pflag.Value. Its error names the part that is wrong.
func (m *mix) Set(text string) error {
	var weights [operationCount]uint32
	var seen [operationCount]bool
	for part := range strings.SplitSeq(text, ",") {
		o, w, ok := parseWeight(strings.TrimSpace(part))
		if !ok || seen[o] {
			return fmt.Errorf("%q must be one of %s", part, m.Allowed())
		}
		weights[o], seen[o] = w, true
	}
	changed := newMix(weights)
	if changed.total == 0 {
		return errors.New("must have a weight over 0")
	}
	*m = changed
	return nil
}

// parseWeight reads an operation and its weight: exchange=80.
func parseWeight(text string) (o operation, weight uint32, ok bool) {
	name, number, _ := strings.Cut(text, "=")
	o, known := parseOperation(name)
	n, err := strconv.ParseUint(number, 10, 32)
	return o, uint32(n), known && err == nil && n <= maxWeight
}
