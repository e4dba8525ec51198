using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Composed;

/// <summary>
/// Computes linear attention with a decay per key channel in chunks, with libtorch's batched products and gradients, for any device and dtype. A
/// decay per channel cannot be taken out of a product of keys without a quotient that overflows, so the decayed keys of all pairs of a chunk are a
/// table. The arguments are those of <see cref="Operators.LinearAttention.Forward"/>.
/// </summary>
static class ChunkedLinearAttention
{
    public static (Tensor Output, Tensor FinalState) Forward(LinearAttentionInputs inputs)
    {
        using var scope = NewDisposeScope();
        var divided = new ChunkedHeads(inputs);
        var documents = divided.Documents();
        var (queries, keys) = (divided.Divide(inputs.Query), divided.Divide(inputs.Key));
        var (values, decays) = (divided.Divide(inputs.Value), divided.Divide(inputs.Decay));
        long size = divided.Size;
        var seen = keys.unsqueeze(1) * documents.Remaining(decays);                                          // (N, Q, Q, K)
        var scores = bmm(seen.flatten(0, 1), queries.flatten(0, 1).unsqueeze(-1)).view(-1, size, size);      // (N, Q, Q)
        var fromStart = documents.FromStart(decays.cumsum(1));
        var (inside, reading) = (divided.PerChunk(bmm(scores, values)), divided.PerChunk(queries * fromStart));
        var written = divided.PerChunk(bmm(seen.select(1, size - 1).transpose(1, 2), values));
        var kept = divided.PerChunk(fromStart.select(1, size - 1).unsqueeze(-1));
        var state = divided.InitialState();
        var outputs = new Tensor[divided.Count];
        for (int chunk = 0; chunk < outputs.Length; chunk++)
        {
            outputs[chunk] = inside[chunk].add(bmm(reading[chunk], state), Scalars.One);
            state = (state * kept[chunk]).add(written[chunk], Scalars.One);
        }
        return divided.Join(outputs, state);
    }
}
