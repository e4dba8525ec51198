using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using HybridArchitectures.Kernels.Cpu;

namespace HybridArchitectures.Kernels.Tests.Cpu;

public class VectorMathTests
{
    // 1.8 units in the last place: the polynomial's 0.9, and the rounding of its sum and of the range's reduction
    const double Tolerance = 1.8 / (1 << 23);

    [Theory]
    [InlineData("Exp2", -126, 127.99), InlineData("Exp", -87.3, 88.72), InlineData("Sigmoid", -80, 80), InlineData("Softplus", -87, 300)]
    public void Values_are_within_a_few_units_in_the_last_place(string name, double from, double to)
    {
        Func<Vector256<float>, Vector256<float>> ours = name switch
        {
            "Exp2" => VectorMath.Exp2,
            "Exp" => VectorMath.Exp,
            "Sigmoid" => VectorMath.Sigmoid,
            _ => VectorMath.Softplus,
        };
        Func<double, double> exact = name switch
        {
            "Exp2" => x => Math.Pow(2, x),
            "Exp" => Math.Exp,
            "Sigmoid" => x => 1 / (1 + Math.Exp(-x)),
            _ => x => Math.Max(x, 0) + LogOnePlus(Math.Exp(-Math.Abs(x))),
        };
        double Allowed(double x) => name switch
        {
            // its exponent is a rounded product: relative, as large as |x| times that rounding
            "Sigmoid" => Tolerance + Math.Abs(Math.Min(x, 0)) / (1 << 23),
            // a quotient and a product more
            "Softplus" => 1.5 * Tolerance,
            _ => Tolerance,
        // the product is rounded before it is subtracted from
        } + (Fma.IsSupported || name == "Exp2" ? 0 : Math.Abs(Math.Min(x, 88)) / (1 << 23));
        const int Points = 200_000;
        for (int i = 0; i <= Points; i++)
        {
            float x = (float)(from + (to - from) * i / Points);
            double value = ours(Vector256.Create(x))[0], expected = exact(x);
            Assert.True(Math.Abs(value - expected) <= Allowed(x) * Math.Abs(expected), $"{name}({x:r}) is {value:r}; expected {expected:r}");
        }
    }

    [Fact]
    public void Decays_are_the_same_to_the_bit_with_and_without_limits()
    {
        var random = new Random(1);
        for (int i = 0; i < 100_000; i++)
        {
            float x = random.NextSingle() * 12, y = (random.NextSingle() - 0.5f) * 21;
            var (bounded, any) = (VectorMath.Exp2Product(Vector256.Create(x), Vector256.Create(y))[0],
                VectorMath.Exp2AnyProduct(Vector256.Create(x), Vector256.Create(y))[0]);
            Assert.Equal(BitConverter.SingleToUInt32Bits(bounded), BitConverter.SingleToUInt32Bits(any));
        }
    }

    [Theory]
    [InlineData(0, 1), InlineData(128, float.PositiveInfinity), InlineData(float.PositiveInfinity, float.PositiveInfinity),
        InlineData(-1e30f, 1.17549435e-38f)]
    [InlineData(float.NegativeInfinity, 1.17549435e-38f), InlineData(float.NaN, float.NaN)]
    public void Powers_of_two_end_in_infinity_and_in_the_smallest_normal_number(float x, float expected) =>
        Assert.Equal(expected, VectorMath.Exp2(Vector256.Create(x))[0]);

    [Theory]
    [InlineData(1e30f, -1e30f), InlineData(200, -1), InlineData(float.PositiveInfinity, -1)]
    public void Decays_beyond_all_numbers_are_almost_nothing(float step, float rate) =>
        Assert.InRange(VectorMath.Exp2AnyProduct(Vector256.Create(step), Vector256.Create(rate))[0], 0, 2e-38f);

    [Theory]
    [InlineData(float.NaN, -1), InlineData(1, float.NaN), InlineData(0, float.NegativeInfinity)]
    public void Decays_of_values_that_are_not_finite_are_none(float step, float rate) =>
        Assert.True(float.IsNaN(VectorMath.Exp2AnyProduct(Vector256.Create(step), Vector256.Create(rate))[0]));

    [Fact]
    public void Values_that_are_not_numbers_stay_so()
    {
        var none = Vector256.Create(float.NaN);
        Assert.All([VectorMath.Exp(none), VectorMath.Exp2(none), VectorMath.Sigmoid(none), VectorMath.Softplus(none), VectorMath.SoftplusSlope(none)],
            value => Assert.True(float.IsNaN(value[0])));
        Assert.Equal((0, float.PositiveInfinity),
            (VectorMath.Softplus(Vector256.Create(float.NegativeInfinity))[0], VectorMath.Softplus(Vector256.Create(float.PositiveInfinity))[0]),
            (a, b) => Math.Abs(a.Item1 - b.Item1) < 2e-38f && a.Item2 == b.Item2);
    }

    static double LogOnePlus(double u) => u < 1e-5 ? u - u * u / 2 + u * u * u / 3 : Math.Log(1 + u);
}
