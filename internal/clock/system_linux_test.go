package clock

import "testing"

func TestRealBoot(t *testing.T) {
	first, second := boot(), boot()
	if first.ID == "" || first.ID != second.ID || first.Age <= 0 || second.Age < first.Age {
		t.Errorf("boot = %+v, and then %+v", first, second)
	}
}
