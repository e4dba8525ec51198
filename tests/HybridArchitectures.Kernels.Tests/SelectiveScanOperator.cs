using HybridArchitectures.Kernels.Composed;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

public sealed class SelectiveScanOperator : SequenceOperator
{
    // channels, groups (0: none named), states
    static readonly (long D, long G, long N)[] Sizes = [(20, 2, 16), (300, 1, 4), (9, 3, 7), (5, 0, 1), (24, 0, 64), (136, 2, 5), (6, 6, 16)];

    public override int Variants => Sizes.Length;

    public override IReadOnlyList<string> Timed => ["x", "dt", "B", "C", "z"];

    public override IReadOnlyList<string> Optional => ["D", "z", "dtBias", "initialState"];

    public override KernelBackend BackendFor(Tensor x) => SelectiveScan.BackendFor(x);

    public override Tensors Inputs(long batch, long length, int variant = 0) =>
        Inputs(batch, length, Sizes[variant].D, Sizes[variant].G, Sizes[variant].N);

    public static Tensors Inputs(long batch, long length, long d, long g, long n)
    {
        manual_seed(7 + Draw);
        long[] grouped = g == 0 ? [batch, length, n] : [batch, length, g, n];
        return new()
        {
            ["x"] = randn([batch, length, d], ScalarType.Float64),
            ["dt"] = randn([batch, length, d], ScalarType.Float64) - 1.5,
            ["A"] = -rand([d, n], ScalarType.Float64) * 2 - 0.01,
            ["B"] = randn(grouped, ScalarType.Float64),
            ["C"] = randn(grouped, ScalarType.Float64),
            ["D"] = randn([d], ScalarType.Float64),
            ["z"] = randn([batch, length, d], ScalarType.Float64),
            ["dtBias"] = randn([d], ScalarType.Float64) * 0.3,
            ["initialState"] = randn([batch, d, n], ScalarType.Float64),
        };
    }

    public override (Tensor Output, Tensor Final) Forward(Tensors i, SequenceLayout? layout = null) =>
        SelectiveScan.Forward(i["x"], i["dt"], i["A"], i["B"], i["C"], i.GetValueOrDefault("D"), i.GetValueOrDefault("z"),
            i.GetValueOrDefault("dtBias"), true, i.GetValueOrDefault("initialState"), layout);

    // each of a channel's states is a head of size 1 with one state
    public override (Tensor Output, Tensor Final) Composed(Tensors i, SequenceLayout? layout = null)
    {
        var type = SequenceChecks.StateType(i["x"]);
        Tensor Wide(Tensor tensor) => tensor.to(type);
        var (x, a) = (Wide(i["x"]), Wide(i["A"]));
        long batch = x.size(0), length = x.size(1), d = x.size(2), n = a.size(1);
        Tensor PerState(Tensor perChannel) => perChannel.unsqueeze(-1).expand([.. perChannel.shape, n]).flatten(-2);
        Tensor PerChannel(Tensor grouped)
        {
            var spread = grouped.dim() == 3 ? grouped.unsqueeze(2) : grouped;
            return Wide(spread).repeat_interleave(d / spread.size(2), 2).reshape(batch, length, d * n, 1);
        }
        var (heads, final) = ChunkedStateSpaceDual.Forward(
            new(PerState(x).unsqueeze(-1), PerState(Wide(i["dt"])), a.flatten(), PerChannel(i["B"]), PerChannel(i["C"]))
            {
                DtBias = i.TryGetValue("dtBias", out var bias) ? PerState(Wide(bias)) : null, Softplus = true,
                InitialState = i.GetValueOrDefault("initialState")?.reshape(batch, d * n, 1, 1), Layout = layout, ChunkSize = 32,
            });
        var output = heads.reshape(batch, length, d, n).sum(-1);
        Tensor Clean(Tensor tensor) => Reference.SequenceMasks.WithoutPads(tensor, layout);
        if (i.TryGetValue("D", out var skip)) output = output.add(Clean(x) * Wide(skip), Scalars.One);
        if (i.TryGetValue("z", out var gate)) output = output * nn.functional.silu(Clean(Wide(gate)));
        return (output.to(i["x"].dtype), final.reshape(batch, d, n));
    }

    public override Tensor Step(Tensor state, Tensors i) =>
        SelectiveScan.Step(state, i["x"], i["dt"], i["A"], i["B"], i["C"], i.GetValueOrDefault("D"), i.GetValueOrDefault("z"),
            i.GetValueOrDefault("dtBias"), true);

    /// <summary>Steps of 0 leave a state, and the gradient that goes back to it, bit-equal; a document that follows begins from zero.</summary>
    public static void StepsOf0LeaveStatesAsTheyAre(ScalarType type, int length, Device? device = null)
    {
        using var scope = NewDisposeScope();
        foreach (bool documents in new[] { false, true })
        {
            Tensor Draw(params long[] size) => randn(size, type, device);
            var (x, a) = (Draw(2, length, 32), -rand([32, 16], ScalarType.Float32, device) * 16);
            var initial = randn([2, 32, 16], ScalarType.Float32, device).requires_grad_();
            using var layout = documents ? SequenceLayout.Packed([[length], [length / 2, length - length / 2]], length, device) : null;
            var (output, final) = SelectiveScan.Forward(
                x, zeros_like(x), a, Draw(2, length, 16), Draw(2, length, 16), initialState: initial, layout: layout);
            var kept = documents ? tensor([1f, 0f], device: device).view(2, 1, 1) : ones([1], device: device);
            Assert.True(final.eq(initial * kept).all().item<bool>());
            Autograd.Backward((output.to(ScalarType.Float32) * 0).sum().add(final.sum(), Scalars.One));
            Assert.True(initial.grad!.eq(ones_like(initial) * kept).all().item<bool>());
        }
    }
}
