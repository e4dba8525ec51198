namespace HybridArchitectures.Training.Optimization;

/// <summary>Specifies the polynomials by which <see cref="Muon"/> approximates the nearest orthogonal matrix.</summary>
public enum Orthogonalization
{
    /// <summary>
    /// Uses the same quintic in every iteration, with coefficients (3.4445, -4.7750, 2.0315), by Jordan et al. 2024. Singular values end between
    /// about 0.7 and 1.2.
    /// </summary>
    NewtonSchulz,

    /// <summary>
    /// Uses a separate quintic for each iteration, optimal for singular values above 1e-3 of the norm (Polar Express, arXiv 2505.16932). After 5
    /// iterations, singular values above 1e-2 of the norm are within 0.13 of 1.
    /// </summary>
    PolarExpress,
}
