using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Optimization;

/// <summary>
/// Approximates the orthogonal factor U Vᵀ of matrices X = U S Vᵀ without a decomposition. X is divided by its Frobenius norm, and each iteration is
/// X = aX + (bA + cA²)X with A = XXᵀ, an odd polynomial of the singular values.
/// </summary>
static class PolarFactor
{
    static readonly (double A, double B, double C) Jordan = (3.4445, -4.7750, 2.0315);

    // arXiv 2505.16932, for singular values from 1e-3 to 1
    static readonly (double A, double B, double C)[] Express =
    [
        (8.28721201814563, -23.595886519098837, 17.300387312530933),
        (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
        (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
        (3.3184196573706015, -2.488488024314874, 0.51004894012372),
        (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
        (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
        (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
        (1.875, -1.25, 0.375),
    ];

    // rounding can carry a singular value above 1, where the polynomials grow; all but the last are therefore stretched by this factor
    const double Safety = 1.01;

    /// <summary>Returns the approximate orthogonal factors of (matrices, rows, columns), in the type of <paramref name="x"/>.</summary>
    public static Tensor Compute(Tensor x, Orthogonalization method, int iterations)
    {
        using var scope = NewDisposeScope();
        bool tall = x.size(1) > x.size(2);
        if (tall) x = x.transpose(1, 2);
        var wide = x.to(x.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32);
        var norm = wide.mul(wide).sum([1, 2], keepdim: true).sqrt();
        // a matrix of zeros stays one
        x = x.div(norm.mul(Scalars.From(method == Orthogonalization.PolarExpress ? Safety : 1)).add(Scalars.From(1e-7), Scalars.One)).to(x.dtype);
        foreach (var (a, b, c) in Coefficients(method, iterations))
        {
            using var iteration = NewDisposeScope();
            var gram = x.bmm(x.transpose(1, 2));
            var polynomial = gram.mul(Scalars.From(b)).add_(gram.bmm(gram), Scalars.From(c));
            x = x.mul(Scalars.From(a)).add_(polynomial.bmm(x), Scalars.One).MoveToOuterDisposeScope();
        }
        return (tall ? x.transpose(1, 2) : x).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Scales the rows of (matrices, rows, columns) to their root mean square norm if there are more rows than columns, and the columns if there are
    /// more columns. A row of zeros stays one. The vectors of the shorter side of an orthogonal factor already have the norm 1.
    /// </summary>
    public static Tensor WithEqualNorms(Tensor factor)
    {
        if (factor.size(1) == factor.size(2)) return factor;
        using var scope = NewDisposeScope();
        var squares = factor.mul(factor).sum([factor.size(1) > factor.size(2) ? 2 : 1], keepdim: true);
        var scale = squares.mean([1, 2], keepdim: true).div(squares.clamp_min(Scalars.From(1e-14))).sqrt();
        return factor.mul(scale).MoveToOuterDisposeScope();
    }

    static IEnumerable<(double A, double B, double C)> Coefficients(Orthogonalization method, int iterations)
    {
        if (method == Orthogonalization.NewtonSchulz) return Enumerable.Repeat(Jordan, iterations);
        return Express.Take(iterations).Select((one, i) => i == iterations - 1
            ? one : (one.A / Safety, one.B / Math.Pow(Safety, 3), one.C / Math.Pow(Safety, 5)));
    }
}
