namespace HybridArchitectures.Evaluation;

/// <summary>A group whose products <see cref="StateTracking"/> asks for.</summary>
public enum TrackedGroup
{
    /// <summary>Addition modulo 2: whether the number of ones so far is odd.</summary>
    Parity,

    /// <summary>Addition modulo <see cref="StateTracking.Modulus"/>.</summary>
    ModularAddition,

    /// <summary>Permutations of 3 points: 6 elements.</summary>
    S3,

    /// <summary>Permutations of 5 points: 120 elements, a group that is not solvable.</summary>
    S5,
}
