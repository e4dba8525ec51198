using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>Implements steps over states in more slots than there are sequences: the checks, and the form for back ends without slots.</summary>
static class SlotRows
{
    /// <summary>Returns the required size of the first dimension of the state: the batch, or any if slots are given. Checks the slots.</summary>
    public static long StateRows(Tensor state, Tensor? slots, Tensor x)
    {
        if (slots is null) return x.size(0);
        Require.Alive(state);
        if (slots.dim() != 1 || slots.size(0) != x.size(0))
            throw Require.Unfit(nameof(slots), $"slots has shape {Checks.Describe(slots)}", $"(batch) = ({x.size(0)})");
        if (slots.dtype != ScalarType.Int64) throw Require.Refusal(nameof(slots), slots.dtype, "Int64");
        SequenceChecks.OnDevice(slots, nameof(slots), x);
        if (state.dim() == 0) throw Require.Unfit(nameof(state), "state has no dimension", "(slots, ...)");
        // on CUDA, reading them would stall the device; a slot that does not exist counts as padding there
        if (slots.device_type != TorchSharp.DeviceType.CPU) return state.size(0);
        var (values, seen) = (TensorMemory.ToArray<long>(slots), new HashSet<long>());
        for (int i = 0; i < values.Length; i++)
        {
            if (values[i] < -1 || values[i] >= state.size(0))
                throw Require.Unfit(nameof(slots), $"slots[{i}] is {values[i]}", $"-1 or a slot in [0, {state.size(0)})");
            if (values[i] >= 0 && !seen.Add(values[i]))
                throw Require.Unfit(nameof(slots), $"slots[{i}] is {values[i]}, which occurs twice", "each slot at most once");
        }
        return state.size(0);
    }

    /// <summary>
    /// Gathers the states of the rows that have one, performs the step with these rows, and writes the states back. The step receives the gathered
    /// states and the row indexes (int64), updates the states, and returns the output of the rows.
    /// </summary>
    public static Tensor Step(Tensor state, Tensor slots, Tensor x, Func<Tensor, Tensor, Tensor> step)
    {
        using var scope = NewDisposeScope();
        var values = TensorMemory.ToArray<long>(slots);
        var rows = Enumerable.Range(0, values.Length).Where(i => values[i] >= 0).Select(i => (long)i).ToArray();
        var output = zeros_like(x);
        if (rows.Length == 0) return output.MoveToOuterDisposeScope();
        Tensor numbers = tensor(rows, device: x.device), ownSlots = tensor(rows.Select(i => values[i]).ToArray(), device: x.device),
            states = state.index_select(0, ownSlots);
        output.index_copy_(0, numbers, step(states, numbers));
        state.index_copy_(0, ownSlots, states);
        return output.MoveToOuterDisposeScope();
    }
}
