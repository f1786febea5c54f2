"""Reductions counted in a program's text."""

from __future__ import annotations

from benchmarks.communication import Reduction, reductions

PROGRAM = """HloModule jit_run, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%edge (x: f32[2,8]) -> f32[2,8] {
  ROOT %psum.1 = f32[2,8]{1,0} all-reduce(%x), to_apply=%add, metadata={op_name="jit(run)/moments_of_the_batch/psum"}
}

%none (x: f32[2,8]) -> f32[2,8] {
  ROOT %x = f32[2,8]{1,0} parameter(0)
}

%cell (x: f32[2,8]) -> f32[2,8] {
  ROOT %y = f32[2,8]{1,0} conditional(%p, %x, %x), branch_computations={%none, %edge}
}

%turn (x: f32[2,8]) -> f32[2,8] {
  %cells = f32[2,8]{1,0} while(%x), condition=%more, body=%cell, backend_config={"known_trip_count":{"n":"14"}}
  %call = f32[2,8]{1,0} call(%cells), to_apply=%edge
  %psum.2 = f32[100]{0} all-reduce(%gradients), to_apply=%add, metadata={op_name="transpose(jvp(mean_of_gradients))/psum"}
  ROOT %psum.3 = (f32[], f32[]) all-reduce(%loss, %accuracy), to_apply=%add, metadata={op_name="jit(run)/psum"}
}

ENTRY %main (x: f32[2,8]) -> f32[2,8] {
  %steps = f32[2,8]{1,0} while(%x), condition=%more, body=%step
}

%step (x: f32[2,8]) -> f32[2,8] {
  ROOT %turns = f32[2,8]{1,0} while(%x), condition=%more, body=%turn, backend_config={"known_trip_count":{"n":"2"}}
}
"""


def test_reductions_are_counted_as_often_as_they_run_in_a_step() -> None:
    assert reductions(PROGRAM) == [
        Reduction("batch norms", 64, 2 * 14),
        Reduction("batch norms", 64, 2),
        Reduction("gradients", 400, 2),
        Reduction("losses and metrics", 8, 2),
    ]
