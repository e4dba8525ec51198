using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Compares the CUDA kernel of AdamW under emulation with the formula in float64.</summary>
public class AdamWCudaTests
{
    const double Beta1 = 0.9, Beta2 = 0.95, Epsilon = 1e-8, Decay = 0.1, Rate = 0.01;

    static AdamWStep Step(int steps, double divisor = 1, bool failed = false) =>
        new(tensor((float)Rate), tensor((float)steps), tensor(failed ? 1f : 0f), divisor == 1 ? null : tensor((float)divisor), Beta1, Beta2, Epsilon,
            Decay);

    static AdamWTensors Create(long size, bool copies) =>
        new(randn(size), randn(size), randn(size), randn(size).abs(), copies ? full([size], -7, ScalarType.BFloat16) : null);

    // value and moments after a step
    static (Tensor Value, Tensor First, Tensor Second) Exact(AdamWTensors tensors, int steps, double divisor)
    {
        Tensor Wide(Tensor value) => value.to(ScalarType.Float64);
        var g = Wide(tensors.Gradient) / divisor;
        var (first, second) = (Beta1 * Wide(tensors.First) + (1 - Beta1) * g, Beta2 * Wide(tensors.Second) + (1 - Beta2) * g * g);
        var (m, v) = (first / (1 - Math.Pow(Beta1, steps)), second / (1 - Math.Pow(Beta2, steps)));
        return (Wide(tensors.Value) * (1 - Rate * Decay) - Rate * m / (v.sqrt() + Epsilon), first, second);
    }

    [Theory]
    [InlineData(1, 1), InlineData(3, 2.5), InlineData(1000, 1)]
    public void Steps_match_the_formula(int steps, double divisor) => CudaEmulation.BothOrders(() =>
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        // less than a vector, whole blocks, a rest; more parameters than a launch takes
        long[] sizes = [1, 3, 4, 4096, 4097, 9000, 8192, .. Enumerable.Repeat(5L, 70)];
        var all = sizes.Select((size, i) => Create(size, i % 2 == 0)).ToArray();
        var expected = Array.ConvertAll(all, tensors => Exact(tensors, steps, divisor));
        Assert.All(all, tensors => Assert.True(AdamWCuda.Serves(tensors)));
        AdamWCuda.Update(all, Step(steps, divisor));
        for (int i = 0; i < all.Length; i++)
        {
            OperatorCheck.Close(expected[i].Value, all[i].Value, 1e-6, $"value {i}");
            OperatorCheck.Close(expected[i].First, all[i].First, 1e-6, $"first moment {i}");
            OperatorCheck.Close(expected[i].Second, all[i].Second, 1e-6, $"second moment {i}");
            if (all[i].Copy is { } copy) Assert.True(copy.eq(all[i].Value.to(ScalarType.BFloat16)).all().item<bool>(), $"copy {i}");
        }
    });

    [Fact]
    public void BFloat16_gradients_are_as_their_float32_copies_to_the_bit() => CudaEmulation.BothOrders(() =>
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(5);
        AdamWTensors[] Copy(AdamWTensors[] of, Func<Tensor, Tensor> gradient) => Array.ConvertAll(of, tensors => new AdamWTensors(
            tensors.Value.clone(), gradient(tensors.Gradient), tensors.First.clone(), tensors.Second.clone(), tensors.Copy!.clone()));
        long[] sizes = [1, 3, 4, 4096, 4097, 9000, .. Enumerable.Repeat(5L, 70)];
        var all = Array.ConvertAll(sizes, size => Create(size, copies: true));
        var narrow = Copy(all, gradient => gradient.to(ScalarType.BFloat16));
        for (int i = 0; i < narrow.Length; i += 3) narrow[i] = narrow[i] with { Gradient = all[i].Gradient };
        var wide = Copy(narrow, gradient => gradient.to(ScalarType.Float32));
        Assert.All(narrow, tensors => Assert.True(AdamWCuda.Serves(tensors)));
        AdamWCuda.Update(wide, Step(7, 2.5));
        AdamWCuda.Update(narrow, Step(7, 2.5));
        foreach (var (expected, own) in wide.Zip(narrow))
            Assert.All([(expected.Value, own.Value), (expected.First, own.First), (expected.Second, own.Second), (expected.Copy!, own.Copy!)],
                pair => Assert.True(pair.Item1.equal(pair.Item2).all().item<bool>()));
    });

    [Fact]
    public void A_failed_step_changes_nothing() => CudaEmulation.BothOrders(() =>
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        var tensors = Create(5000, copies: true);
        Tensor[] before = [tensors.Value.clone(), tensors.First.clone(), tensors.Second.clone(), tensors.Copy!.clone()];
        AdamWCuda.Update([tensors], Step(1, failed: true));
        foreach (var (was, now) in before.Zip([tensors.Value, tensors.First, tensors.Second, tensors.Copy!]))
            Assert.True(was.eq(now).all().item<bool>());
    });

    [Fact]
    public void Tensors_of_another_type_or_with_odd_addresses_are_not_served()
    {
        using var scope = NewDisposeScope();
        using var emulation = new CudaEmulation();
        var tensors = Create(8, copies: false);
        Assert.True(AdamWCuda.Serves(tensors));
        Assert.False(AdamWCuda.Serves(tensors with { Gradient = randn(9)[1..] }));
        Assert.False(AdamWCuda.Serves(tensors with { Value = randn(8, ScalarType.Float64) }));
    }

    [Fact]
    public void A_copy_is_used_until_the_weight_changes()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        using var emulation = new CudaEmulation();
        var weight = randn(4, 8);
        Assert.Null(WeightCopies.Target(weight));
        Assert.Null(WeightCopies.Find(weight));             // from now on, a copy is wanted
        var copy = WeightCopies.Target(weight)!;
        Assert.True(copy.eq(weight.to(ScalarType.BFloat16)).all().item<bool>());
        Assert.Null(WeightCopies.Find(weight));             // not confirmed
        WeightCopies.Confirm([weight]);
        Assert.Same(copy, WeightCopies.Find(weight));
        WeightCopies.CountWrite();
        Assert.Null(WeightCopies.Find(weight));
        WeightCopies.Confirm([weight]);
        using (no_grad()) weight.mul_(Scalars.Two);
        Assert.Null(WeightCopies.Find(weight));
        // a step that changes nothing leaves the copy of the present weight
        Assert.True(WeightCopies.Target(weight)!.eq(weight.to(ScalarType.BFloat16)).all().item<bool>());
        WeightCopies.Release([weight]);
        Assert.Null(WeightCopies.Find(weight));
    }

    [Fact]
    public void Products_read_the_copy()
    {
        using var scope = NewDisposeScope();
        using var random = manual_seed(4);
        using var emulation = new CudaEmulation();
        var (x, weight) = (randn(3, 8).to(ScalarType.BFloat16), randn(4, 8).requires_grad_());
        Tensor Forward() => MasterWeightLinear.Forward(x, [(weight, null)])[0];
        var first = Forward();
        var copy = WeightCopies.Target(weight)!;
        WeightCopies.Confirm([weight]);
        Assert.True(first.eq(Forward()).all().item<bool>());
        using (no_grad()) copy.zero_();
        Assert.Equal(0, Forward().to(ScalarType.Float32).abs().sum().item<float>());
        WeightCopies.Release([weight]);
    }
}
