namespace HybridArchitectures.Evaluation.Recall;

/// <summary>Specifies the group of <see cref="StateTracking"/>.</summary>
public enum TrackedGroup
{
    /// <summary>Adds modulo 2, which is the parity of the number of ones so far.</summary>
    Parity,

    /// <summary>Adds modulo <see cref="StateTracking.Modulus"/>.</summary>
    ModularAddition,

    /// <summary>Permutations of 3 points: 6 elements.</summary>
    S3,

    /// <summary>Permutations of 5 points: 120 elements, a group that is not solvable.</summary>
    S5,
}
