using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Tests.Cuda;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Tests that single steps over states in gathered slots have the same results as over separate states, and change nothing else.</summary>
public class SlotTests
{
    static readonly long[] Slots = [4, -1, 0, 2, -1];

    // step(state, rows of the inputs that are taken, slots)
    static void Check(Tensor state, Func<Tensor, Tensor?, Tensor?, Tensor> step)
    {
        var slots = tensor(Slots);
        long[] rows = [0, 2, 3];
        var before = state.clone();
        var own = state.index_select(0, tensor(rows.Select(row => Slots[row]).ToArray()));
        var expected = step(own, tensor(rows), null);
        var output = step(state, null, slots);
        Assert.True(output.index_select(0, tensor(rows)).equal(expected).all().item<bool>());
        Assert.True(output.index_select(0, tensor(new long[] { 1, 4 })).eq(0).all().item<bool>());
        for (int i = 0; i < rows.Length; i++) Assert.True(state[Slots[rows[i]]].equal(own[i]).all().item<bool>());
        foreach (long untouched in new long[] { 1, 3, 5 }) Assert.True(state[untouched].equal(before[untouched]).all().item<bool>());
    }

    static Tensor Taken(Tensor x, Tensor? rows) => rows is null ? x : x.index_select(0, rows);

    static void CheckAll(ScalarType type)
    {
        Tensor Half(params long[] sizes) => randn(sizes, type);
        foreach (var (channels, states) in new[] { (6, 5), (8, 16) })
        {
            var (x, time, gate, b, c, a, skip) =
                (Half(5, channels), Half(5, channels), Half(5, channels), Half(5, 2, states), Half(5, 2, states), -rand(channels, states),
                randn(channels));
            Check(randn(6, channels, states), (state, rows, slots) =>
                SelectiveScan.Step(state, Taken(x, rows), Taken(time, rows), a, Taken(b, rows), Taken(c, rows), skip, Taken(gate, rows),
                null, true, slots));
        }
        // 128 numbers and 16 rows per head: the kernel that takes several rows at once
        foreach (var (size, states) in new[] { (3, 7), (16, 128), (64, 32) })
        {
            var (x, time, b, c, a, skip) = (Half(5, 4, size), Half(5, 4), Half(5, 2, states), Half(5, 2, states), -rand(4), randn(4));
            foreach (var stored in new[] { ScalarType.Float32, ScalarType.BFloat16 })
                Check(randn([6, 4, size, states], stored), (state, rows, slots) => StateSpaceDual.Step(state, Taken(x, rows), Taken(time, rows), a,
                    Taken(b, rows), Taken(c, rows), skip, null, true, null, slots));
        }
        foreach (int channels in new[] { 5, 16 })
        {
            var (x, weight, bias) = (Half(5, channels), randn(channels, 4), randn(channels));
            Check(randn([6, 3, channels], type), (state, rows, slots) => CausalConvolution.Step(state, Taken(x, rows), weight, bias, true, slots));
        }
    }

    [Theory]
    [InlineData(KernelBackend.Cpu, ScalarType.Float32)]
    [InlineData(KernelBackend.Cpu, ScalarType.BFloat16)]
    [InlineData(KernelBackend.Reference, ScalarType.Float32)]
    [InlineData(KernelBackend.Cuda, ScalarType.Float32)]
    [InlineData(KernelBackend.Cuda, ScalarType.BFloat16)]
    public void Steps_over_slots_equal_steps_over_separate_states(KernelBackend backend, ScalarType type)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        using var noGrad = no_grad();
        using var options = OperatorOptions.Use(new() { Backend = backend });
        if (backend == KernelBackend.Cuda) CudaEmulation.BothOrders(() => CheckAll(type));
        else CheckAll(type);
    }

    [Fact]
    public void Slots_that_do_not_fit_are_refused_by_name()
    {
        using var scope = NewDisposeScope();
        void Refused(string part, Tensor slots) =>
            Refusal.Expect("slots", part, () => CausalConvolution.Step(zeros(6, 3, 4), zeros(2, 4), zeros(4, 4), slots: slots));
        Refused("(3)", zeros(3, ScalarType.Int64));
        Refused("Float32", zeros(2));
        Refused("slots[1] is 6", tensor(new long[] { 0, 6 }));
        Refused("occurs twice", tensor(new long[] { 3, 3 }));
    }
}
