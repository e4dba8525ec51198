using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Tests.Cuda;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>
/// Tests passes over a few tokens that update a state: they equal single steps bit for bit, and return rows to any of their tokens.
/// </summary>
public class SeveralTokensTests
{
    const int Rows = 3, Length = 5;

    [Theory]
    [InlineData(KernelBackend.Cpu, ScalarType.Float32)]
    [InlineData(KernelBackend.Cpu, ScalarType.BFloat16)]
    [InlineData(KernelBackend.Reference, ScalarType.Float32)]
    [InlineData(KernelBackend.Reference, ScalarType.Float64)]
    [InlineData(KernelBackend.Cuda, ScalarType.Float32)]
    [InlineData(KernelBackend.Cuda, ScalarType.BFloat16)]
    public void Equal_steps_and_return_rows_to_any_token(KernelBackend backend, ScalarType type)
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        using var noGrad = no_grad();
        using var options = OperatorOptions.Use(new() { Backend = backend });
        if (backend == KernelBackend.Cuda) CudaEmulation.BothOrders(() => CheckAll(type, CPU));
        else CheckAll(type, CPU, isConvolutionExact: false);
    }

    [Theory, Trait("device", "cuda")]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void Equal_steps_and_return_rows_to_any_token_on_a_GPU(ScalarType type)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using (Gpu.Poisoned()) CheckAll(type, CUDA);
    }

    [Fact]
    public void A_pass_of_a_delta_rule_on_a_GPU_saves_one_state_and_its_inputs()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        using var options = OperatorOptions.Use(new() { Backend = KernelBackend.Cuda });
        using var emulation = new CudaEmulation();
        Tensor keys = randn([Rows, Length, 2, 24], ScalarType.BFloat16), values = randn([Rows, Length, 4, 40], ScalarType.BFloat16);
        Tensor rates = rand([Rows, Length, 4]), state = zeros([Rows, 4, 24, 40]);
        var (_, replay) = GatedDeltaRule.Steps(state, new(keys, keys, values, -rates, rates));
        using (replay) Assert.Equal(4L * Rows * 4 * 24 * 40 + Rows * Length * (2 * 2 * 2 * 24 + 2 * 4 * 40 + 2 * 4 * 4), replay.Bytes);
    }

    static void CheckAll(ScalarType type, Device device, bool isConvolutionExact = true)
    {
        foreach (var (channels, states) in new[] { (6, 5), (72, 16), (40, 200) }) SelectiveScan(type, device, channels, states);
        // kernels for any sizes, and those for several rows of a head at once
        foreach (var (size, states) in new[] { (3, 7), (64, 16), (16, 128), (32, 128), (64, 64), (64, 32), (32, 256) })
            foreach (bool isSliced in new[] { false, true }) Dual(type, device, size, states, isSliced);
        foreach (var (channels, width) in new[] { (5, 4), (16, 4), (16, 2), (8, 7), (8, 1) })
            Convolution(type, device, channels, width, isConvolutionExact);
        foreach (var (key, value) in new[] { (5, 3), (24, 40), (128, 64), (256, 33) })
            foreach (bool isSliced in new[] { false, true }) DeltaRules(type, device, key, value, isSliced);
        Recurrence(type, device);
    }

    // as operators receive it from projections if it is sliced: a part of a wider tensor
    static Tensor Input(ScalarType type, Device device, bool isSliced, params long[] sizes) =>
        isSliced ? randn([.. sizes[..^1], sizes[^1] + 16], type, device).narrow(-1, 8, sizes[^1]) : randn(sizes, type, device);

    static ScalarType StateType(ScalarType type) => type == ScalarType.Float64 ? type : ScalarType.Float32;

    // Between steps, states are float32 or bfloat16 (float64 only with float64 inputs).
    static void CheckScan(string name, ScalarType type, Tensor initial, Func<Tensor, (Tensor Output, StateReplay Replay)> pass,
        Func<Tensor, int, Tensor> step)
    {
        Check(name, initial, true, pass, step);
        if (type == ScalarType.Float64) return;
        var narrow = initial.to(ScalarType.BFloat16);
        Check($"{name}, bfloat16 states", narrow, true, pass, step);
        var (rounded, single) = (narrow.clone(), narrow.to(ScalarType.Float32));
        for (int token = 0; token < Length; token++)
        {
            Tensor actual = step(rounded, token), expected = step(single, token);
            single = single.to(ScalarType.BFloat16).to(ScalarType.Float32);
            Assert.True(actual.equal(expected).all().item<bool>(), $"{name}: output with a bfloat16 state, token {token}");
            Assert.True(rounded.to(ScalarType.Float32).equal(single).all().item<bool>(), $"{name}: rounding of the state after token {token}");
        }
    }

    static void SelectiveScan(ScalarType type, Device device, int channels, int states)
    {
        Tensor Half(params long[] sizes) => Input(type, device, true, sizes);
        Tensor Whole(params long[] sizes) => randn(sizes, StateType(type), device);
        var inputs = new SelectiveScanInputs(Half(Rows, Length, channels), Half(Rows, Length, channels), -Whole(channels, states).abs(),
            Half(Rows, Length, 2, states), Half(Rows, Length, 2, states))
        {
            D = Whole(channels), Z = Half(Rows, Length, channels), DtBias = Whole(channels), Softplus = true,
        };
        CheckScan($"selective scan {channels} x {states}", type, Whole(Rows, channels, states),
            state => Operators.SelectiveScan.Steps(state, inputs),
            (state, token) =>
            {
                var one = inputs.Token(token);
                return Operators.SelectiveScan.Step(state, one.X, one.Dt, one.A, one.B, one.C, one.D, one.Z, one.DtBias, true);
            });
    }

    static void Dual(ScalarType type, Device device, int size, int states, bool isSliced)
    {
        const int Heads = 4;
        Tensor Whole(params long[] sizes) => randn(sizes, StateType(type), device);
        var inputs = new StateSpaceDualInputs(Input(type, device, isSliced, Rows, Length, Heads * size).view(Rows, Length, Heads, size),
            Input(type, device, isSliced, Rows, Length, Heads), -Whole(Heads).abs(),
            Input(type, device, isSliced, Rows, Length, 2 * states).view(Rows, Length, 2, states),
            Input(type, device, isSliced, Rows, Length, 2 * states).view(Rows, Length, 2, states))
        {
            D = Whole(Heads), DtBias = Whole(Heads), Softplus = true, DtLimit = (0.01, 1),
        };
        CheckScan($"dual {size} x {states}, sliced {isSliced}", type, Whole(Rows, Heads, size, states),
            state => StateSpaceDual.Steps(state, inputs),
            (state, token) =>
            {
                var one = inputs.Token(token);
                return StateSpaceDual.Step(state, one.X, one.Dt, one.A, one.B, one.C, one.D, one.DtBias, true, one.DtLimit);
            });
    }

    // all operators whose heads have a state of keys by values; decays and strengths are at most 0 and between 0 and 1
    static void DeltaRules(ScalarType type, Device device, int keySize, int valueSize, bool isSliced)
    {
        const int Heads = 4;
        string name = $"of {keySize} x {valueSize}, sliced {isSliced}";
        Tensor Of(int heads, int size) => Input(type, device, isSliced, Rows, Length, heads * size).view(Rows, Length, heads, size);
        Tensor Rates(params long[] sizes) => rand([Rows, Length, .. sizes], StateType(type), device);
        var initial = randn([Rows, Heads, keySize, valueSize], StateType(type), device);
        Tensor values = Of(Heads, valueSize), few = Of(2, keySize) / keySize, keys = Of(Heads, keySize) / keySize, queries = Of(Heads, keySize);
        Tensor decay = -Rates(Heads), decays = -Rates(Heads, keySize), strength = Rates(Heads);
        Check($"gated delta rule {name}", initial, true, state => GatedDeltaRule.Steps(state, new(few, few, values, decay, strength)),
            (state, t) => GatedDeltaRule.Step(state, few.select(1, t), few.select(1, t), values.select(1, t), decay.select(1, t),
                strength.select(1, t)));
        Check($"channel delta rule {name}", initial, true,
            state => ChannelDeltaRule.Steps(state, new(few, few, values, decays, strength) { DecaysChannels = true }),
            (state, t) => ChannelDeltaRule.Step(state, few.select(1, t), few.select(1, t), values.select(1, t), decays.select(1, t),
                strength.select(1, t)));
        Check($"linear attention {name}", initial, true, state => LinearAttention.Steps(state, new(queries, keys, values, decays)),
            (state, t) => LinearAttention.Step(state, queries.select(1, t), keys.select(1, t), values.select(1, t), decays.select(1, t)));
        Check($"generalized delta rule {name}", initial, true,
            state => GeneralizedDeltaRule.Steps(state, new(queries, keys, values, decays, keys, -decays)),
            (state, t) => GeneralizedDeltaRule.Step(state, queries.select(1, t), keys.select(1, t), values.select(1, t), decays.select(1, t),
                keys.select(1, t), -decays.select(1, t)));
    }

    static void Recurrence(ScalarType type, Device device)
    {
        Tensor x = randn([Rows, Length, 37], type, device), decay = -rand([Rows, Length, 37], StateType(type), device);
        Check("linear recurrence", randn([Rows, 37], StateType(type), device), true, state => LinearRecurrence.Steps(state, new(x, decay)),
            (state, t) => LinearRecurrence.Step(state, x.select(1, t), decay.select(1, t)));
    }

    static void Convolution(ScalarType type, Device device, int channels, int width, bool isExact)
    {
        var inputs = new CausalConvolutionInputs(Input(type, device, true, Rows, Length, channels), randn([channels, width], StateType(type), device),
            randn([channels], StateType(type), device)) { Silu = true };
        Check($"convolution of {channels} channels, width {width}", randn([Rows, width - 1, channels], type, device), isExact,
            state => CausalConvolution.Steps(state, inputs),
            (state, token) => CausalConvolution.Step(state, inputs.X.select(1, token), inputs.Weight, inputs.Bias, true));
    }

    static void Check(string name, Tensor initial, bool isExact, Func<Tensor, (Tensor Output, StateReplay Replay)> pass,
        Func<Tensor, int, Tensor> step)
    {
        using var scope = NewDisposeScope();
        var states = new Tensor[Length + 1];
        var outputs = new Tensor[Length];
        states[0] = initial.clone();
        for (int token = 0; token < Length; token++)
        {
            states[token + 1] = states[token].clone();
            outputs[token] = step(states[token + 1], token);
        }
        var state = initial.clone();
        var (output, replay) = pass(state);
        using (replay)
        {
            var expected = stack(outputs, 1);
            // sums of a convolution in another order, which round to a neighbour
            if (!isExact) SequenceOperator.Close(name, output, expected.to(ScalarType.Float64), output.dtype);
            else Assert.True(output.equal(expected).all().item<bool>(), $"{name}: outputs");
            Assert.True(state.equal(states[Length]).all().item<bool>(), $"{name}: state");
            // a replay can be used again, because a graph writes what it reads whenever it is launched
            foreach (long[] counts in new long[][] { [1, 5, 2], [4, 1, 3], [5, 5, 5] })
            {
                state.copy_(states[Length]);
                replay.Run(state, tensor(counts, device: state.device));
                for (int row = 0; row < Rows; row++)
                    Assert.True(state[row].equal(states[counts[row]][row]).all().item<bool>(), $"{name}: row {row} after {counts[row]} tokens");
            }
        }
    }
}
