using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Checks the properties of an operator along a sequence: in main memory, on a GPU, and under emulation.</summary>
sealed class SequenceProperties(SequenceOperator op, Device? device = null)
{
    Tensors Evaluate(Tensors inputs, ScalarType type, SequenceLayout? layout = null, double output = 1, double final = 1, long offset = 0,
        long row = 0) =>
        op.Evaluate(inputs, type, layout, output, final, offset, row, device: device);

    /// <summary>Documents packed into a row, including empty ones, have the same outputs and gradients as each in a separate row.</summary>
    public void PackedDocumentsEqualSeparateRows(ScalarType type, long[] lengths, long pads, int variant = 0)
    {
        using var scope = NewDisposeScope();
        long tokens = lengths.Sum();
        var packed = op.Inputs(1, tokens, variant);
        packed.Remove("initialState");
        using var layout = SequenceLayout.Packed([lengths], tokens + pads, device);
        // values at padding do not matter
        foreach (var name in op.Timed)
            packed[name] = cat([packed[name], full_like(packed[name].narrow(1, 0, 1), double.NaN).expand(PadSize(packed[name], pads))], 1);
        var together = Evaluate(packed, type, layout, output: 1, final: 0);

        var parts = new List<Tensors>();
        long begin = 0;
        foreach (var length in lengths.Where(length => length > 0))
        {
            var one = new Tensors(packed);
            foreach (var name in op.Timed) one[name] = packed[name].narrow(1, begin, length);
            parts.Add(Evaluate(one, type, null, 1, 0, begin));
            begin += length;
        }
        foreach (var name in together.Keys.Where(name => name != "final"))
        {
            bool timed = name == "output" || op.Timed.Contains(name[2..]);
            var expected = timed ? cat([.. parts.Select(part => part[name]), zeros_like(together[name].narrow(1, 0, pads))], 1)
                : stack(parts.Select(part => part[name]).ToArray()).sum(dim: 0);
            SequenceOperator.Close(name, together[name], expected, type);
        }
        SequenceOperator.Close("final", together["final"], parts[^1]["final"], type);
    }

    static long[] PadSize(Tensor tensor, long pads) => [tensor.size(0), pads, .. tensor.shape[2..]];

    /// <summary>Padded rows, including empty ones, have the same results as separate rows, and zeros at padding.</summary>
    public void PaddedRowsEqualTheRowAlone(ScalarType type, long[] lengths, long length, int variant = 0)
    {
        using var scope = NewDisposeScope();
        var batch = op.Inputs(lengths.Length, length, variant);
        using var layout = SequenceLayout.Padded(lengths, length, device);
        var together = Evaluate(batch, type, layout);
        for (int row = 0; row < lengths.Length; row++)
        {
            var one = new Tensors(batch) { ["initialState"] = batch["initialState"].narrow(0, row, 1) };
            if (lengths[row] == 0)
            {
                SequenceOperator.Close("final", together["final"].narrow(0, row, 1),
                    one["initialState"].to(device ?? CPU).to(type).to(ScalarType.Float64), type);
                Assert.Equal(0, together["output"][row].abs().max().item<double>());
                continue;
            }
            foreach (var name in op.Timed) one[name] = batch[name].narrow(0, row, 1).narrow(1, 0, lengths[row]);
            var alone = Evaluate(one, type, null, row: row);
            foreach (var name in alone.Keys)
                if (name is "final" or "d initialState") SequenceOperator.Close(name, together[name].narrow(0, row, 1), alone[name], type);
                else if (name == "output" || op.Timed.Contains(name[2..]))
                {
                    SequenceOperator.Close(name, together[name].narrow(0, row, 1).narrow(1, 0, lengths[row]), alone[name], type);
                    if (lengths[row] < length)
                        Assert.Equal(0, together[name][row].narrow(0, lengths[row], length - lengths[row]).abs().max().item<double>());
                }
        }
    }

    /// <summary>A row that is divided anywhere, with its state carried over, has the same outputs and gradients as the whole row.</summary>
    public void SplitEqualsWhole(ScalarType type, long length, long at, int variant = 0)
    {
        using var scope = NewDisposeScope();
        var inputs = op.Inputs(2, length, variant);
        var whole = Evaluate(inputs, type);
        var leaves = op.Leaves(inputs, type, device: device);
        Tensors Part(long start, long count)
        {
            var part = new Tensors(leaves);
            foreach (var name in op.Timed) part[name] = leaves[name].narrow(1, start, count);
            return part;
        }
        var (before, middle) = op.Forward(Part(0, at));
        var second = Part(at, length - at);
        second["initialState"] = middle;
        var (after, final) = op.Forward(second);
        var split = SequenceOperator.Backward(leaves, cat([before, after], 1), final);
        foreach (var name in whole.Keys) SequenceOperator.Close(name, split[name], whole[name], type);
    }

    /// <summary>Single steps have the same results as the whole row.</summary>
    public void StepsEqualTheWholeRow(ScalarType type, long length, int variant = 0)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var inputs = op.Leaves(op.Inputs(3, length, variant), type, device: device);
        var (output, final) = op.Forward(inputs);
        var state = inputs["initialState"].detach().clone();
        var outputs = new List<Tensor>();
        for (int t = 0; t < length; t++)
        {
            var one = new Tensors(inputs);
            foreach (var name in op.Timed) one[name] = inputs[name].select(1, t);
            outputs.Add(op.Step(state, one));
        }
        SequenceOperator.Close("output", stack([.. outputs], 1), output.to(ScalarType.Float64), type);
        SequenceOperator.Close("final", state, final.to(ScalarType.Float64), ScalarType.Float32, op.StateTolerance(output));
    }
}
